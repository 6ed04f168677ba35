//! Names that look as if they carried something out.
//!
//! Whoever serves the names below one learns of each that is asked for. So a rule for all of them lets data out, in
//! the names. How much that is at once is kept small; a name that a rule says is the policy's own word.

/// The longest name, and the longest label.
const NAME: usize = 120;
const LABEL: usize = 52;

/// A run of letters and digits of at least so many, which has more than so many bits in each, is no word and
/// no number in hexadecimal, that has four at most.
const RUN: usize = 24;
const BITS: f64 = 4.0;

/// Why a name, in lower case, is not asked for where no rule says just that.
#[must_use]
pub fn unlikely(name: &str) -> Option<&'static str> {
    let mut labels = name.split('.');
    let mut runs = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    if name.len() > NAME {
        Some("the name is longer than 120 bytes, and no rule says just that")
    } else if labels.any(|label| label.len() > LABEL) {
        Some("a label of the name is longer than 52 bytes, and no rule says just that")
    } else if runs.any(|run| run.len() >= RUN && bits(run) > BITS) {
        Some("the name has letters in it that are no word, and no rule says just that")
    } else {
        None
    }
}

/// The entropy of a letter of these, in bits (Shannon).
fn bits(run: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in run.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = run.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    let shares = shares.map(|count| f64::from(*count) / all);
    shares.map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_likely() {
        for name in [
            "d111111abcdef8.cloudfront.net",
            "rr3---sn-25ge7nzr.googlevideo.com",
            "internal-k8s-default-ingress-1a2b3c4d5e-1234567890.us-east-1.elb.amazonaws.com",
            "vpce-0123456789abcdef0-abcdefgh.ec2.us-east-1.vpce.amazonaws.com",
            "my-company-production-data-lake-artifacts-eu-west-1.s3.eu-west-1.amazonaws.com",
            "github-production-release-asset-2e65be.s3.amazonaws.com",
            "8a4ed5c0-1234-4f3e-9c3a-0a1b2c3d4e5f.azurewebsites.net",
            "9d7f5b8c6e4a4e3f8d2b1a0c9e8f7d6c.r2.cloudflarestorage.com",
            "0123456789abcdef0123456789abcdef01234567.cdn.example.net",
            "the-quick-brown-fox-jumps-over-lazy-dog-2024.example.org",
            "a248.e.akamai.net",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(unlikely(name), None, "{name}");
        }
    }

    #[test]
    fn what_carries_something_is_not() {
        for name in [
            "mfzwizlsnf2gq2ltnfzw65dimvzhg3dp.example.org",
            "nb2hi4dthixs653xo4xgk6dbnvygyzjonnsxs.a.example.org",
            &format!("{}.example.org", "ab".repeat(27)),
            &format!("{}.example.org", "abcdefgh.".repeat(13)),
        ] {
            assert!(unlikely(name).is_some(), "{name}");
        }
    }
}
