//! "Did you mean".

/// ``; did you mean "perms"?``, or nothing when no candidate is near.
pub(super) fn suggestion<S: AsRef<str>>(name: &str, candidates: &[S]) -> String {
    let near = candidates
        .iter()
        .map(|candidate| candidate.as_ref())
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4);
    near.map(|(_, candidate)| format!("; did you mean {candidate:?}?"))
        .unwrap_or_default()
}

/// The edits between two names, case aside. Long names are far from everything, so that a
/// hostile document cannot make this expensive.
fn distance(one: &str, other: &str) -> usize {
    let fold =
        |text: &str| -> Vec<char> { text.chars().take(64).flat_map(char::to_lowercase).collect() };
    if one.len() > 64 {
        return usize::MAX;
    }
    let (one, other) = (fold(one), fold(other));
    let mut previous: Vec<usize> = (0..=other.len()).collect();
    for (row, left) in one.iter().enumerate() {
        let mut diagonal = previous[0];
        previous[0] = row + 1;
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = previous[column + 1];
            previous[column + 1] = replaced.min(diagonal + 1).min(previous[column] + 1);
        }
    }
    previous[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_only() {
        assert_eq!(
            suggestion("perm", &["path", "perms"]),
            "; did you mean \"perms\"?"
        );
        assert_eq!(
            suggestion("read-file", &["read_file"]),
            "; did you mean \"read_file\"?"
        );
        assert_eq!(
            suggestion("Plugins", &["plugins"]),
            "; did you mean \"plugins\"?"
        );
        assert_eq!(suggestion("zebra", &["path", "perms"]), "");
        assert_eq!(suggestion(&"p".repeat(1000), &["path"]), "");
    }
}
