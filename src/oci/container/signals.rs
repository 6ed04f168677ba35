//! Signals by number or name, as `kill` takes them.

use super::VerbError;

const NAMES: [(&str, i32); 33] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The largest number that is a signal (`_NSIG`).
const LARGEST: i32 = 64;

/// The number of a signal that is given as `9`, `KILL`, `SIGKILL`, `RTMIN+1` or `SIGRTMAX-2`.
///
/// # Errors
/// It is none of them.
pub fn parse(text: &str) -> Result<i32, VerbError> {
    let unknown = || {
        VerbError::argument(
            format!("unknown signal {text:?}"),
            "give a number from 0 to 64, or a name such as TERM",
        )
    };
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            0..=LARGEST => Ok(number),
            _ => Err(unknown()),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(unknown)
}

fn real_time(name: &str) -> Option<i32> {
    // The C library keeps the first two for itself.
    let (first, last) = (34, LARGEST);
    let number = match name.strip_prefix("RTMIN") {
        Some("") => first,
        Some(rest) => first + rest.strip_prefix('+')?.parse::<i32>().ok()?,
        None => match name.strip_prefix("RTMAX")? {
            "" => last,
            rest => last - rest.strip_prefix('-')?.parse::<i32>().ok()?,
        },
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_name() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("SIGRTMAX-14", 50),
            ("0", 0),
        ] {
            assert_eq!(parse(text).ok(), Some(number), "{text}");
        }
        for none in [
            "",
            "65",
            "-1",
            "SIG",
            "FOO",
            "RTMIN+99",
            "RTMINx",
            "99999999999",
        ] {
            assert!(parse(none).is_err(), "{none}");
        }
    }
}
