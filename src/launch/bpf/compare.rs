//! The comparison of arguments, in seccompiler's text without what surrounds it there.

use std::collections::BTreeMap;

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule};
use seccompiler::{TargetArch, sock_filter};

use super::{IF_EQUAL, RETURN, op};

/// Why rules became no text.
#[derive(Debug, thiserror::Error)]
pub(in crate::launch) enum CompareError {
    /// seccompiler refused the rules.
    #[error("{0}")]
    Refused(#[from] BackendError),
    /// seccompiler wrote something else than was expected of it.
    #[error("seccompiler's text has a shape that is not known here")]
    Shape,
}

/// The text that answers `hit` where one of `rules` matches, and otherwise runs on past its end.
/// Its last jump may lead one instruction past its end, which must exist.
pub(in crate::launch) fn compare(
    rules: Vec<SeccompRule>,
    hit: u32,
) -> Result<Vec<libc::sock_filter>, CompareError> {
    // No rule matches nothing; seccompiler takes it for a rule without conditions.
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    // The architecture check (three instructions), the load of the number, the comparison with it.
    const PROLOGUE: usize = 5;
    // seccompiler knows no action that notifies: a stand-in for the hit gives way to it afterwards.
    // What surrounds the comparisons is cut off, and with it the number and the architecture.
    let (miss, stand_in) = (SeccompAction::Allow, SeccompAction::KillProcess);
    let filter = SeccompFilter::new(
        BTreeMap::from([(0, rules)]),
        miss.clone(),
        stand_in.clone(),
        TargetArch::x86_64,
    )?;
    let text = BpfProgram::try_from(filter)?;
    let last = sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: u32::from(miss),
    };
    let compared = text
        .strip_suffix(&[last.clone(), last])
        .and_then(|text| text.get(PROLOGUE - 1..))
        .and_then(|text| text.split_first());
    match compared {
        Some((first, compared)) if first.code == IF_EQUAL && first.k == 0 => {
            let stand_in = u32::from(stand_in);
            compared.iter().map(|i| convert(i, stand_in, hit)).collect()
        }
        _ => Err(CompareError::Shape),
    }
}

fn convert(text: &sock_filter, stand_in: u32, hit: u32) -> Result<libc::sock_filter, CompareError> {
    if text.code == RETURN {
        return match text.k == stand_in {
            true => Ok(op(RETURN, hit)),
            false => Err(CompareError::Shape),
        };
    }
    Ok(libc::sock_filter {
        code: text.code,
        jt: text.jt,
        jf: text.jf,
        k: text.k,
    })
}
