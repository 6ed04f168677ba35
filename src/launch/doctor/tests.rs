use super::*;
use crate::sys::forked;
use crate::sys::probe;

#[test]
fn what_was_not_tried_is_never_available() {
    let untried = |fate| matches!(judged(fate), Err(Stop::Untried(_)));
    assert!(untried(Ok(Fate::Late)));
    assert!(untried(Ok(Fate::Mute(0))));
    assert!(untried(Ok(Fate::Told(Vec::new()))));
    assert!(untried(Ok(Fate::Told(b"{\"Ok\":1}".to_vec()))));
    assert!(untried(Ok(Fate::Killed(libc::SIGKILL))));
    assert!(untried(Err(io::ErrorKind::OutOfMemory.into())));
    let fatal = judged(Ok(Fate::Killed(libc::SIGSYS)));
    assert!(matches!(fatal, Err(Stop::Fatal(_))), "{fatal:?}");
    assert_eq!(judged(Ok(Fate::Told(Stop::told(&Ok(()))))), Ok(()));
}

#[test]
fn an_outcome_comes_through_a_pipe_as_it_was() {
    for outcome in [
        Ok(()),
        Err(Stop::Refused {
            step: "making it".to_owned(),
            errno: libc::EPERM,
        }),
        Err(Stop::NoEffect("none".to_owned())),
    ] {
        assert_eq!(Stop::heard(&Stop::told(&outcome)), outcome);
    }
}

#[test]
fn with_threads_nothing_is_known() {
    // The test harness has some.
    let place = Place::make();
    let host = Host::look();
    for probe in probes() {
        let found = attempt(probe, &place, &host);
        assert_eq!(found.state, Presence::Unknown, "{found:?}");
    }
    place.remove().expect("the folder can be removed");
}

#[test]
fn the_old_probes_agree() {
    let text = forked::ask(|| {
        let findings = examine().expect("the host can be examined");
        let is = |name: &str| {
            let found = findings.iter().find(|one| one.name == name);
            found.is_some_and(|one| one.state == Presence::Available)
        };
        format!("{} {}", is("execute"), is("user notification"))
    });
    let expected = format!(
        "{} {}",
        probe::landlock_abi() > 0,
        probe::has_seccomp_notify()
    );
    assert_eq!(text, expected);
}

#[test]
fn advice_speaks_of_what_failed() {
    let remedy = Remedy::new("landlock_create_ruleset", "Linux 5.13")
        .when(libc::EOPNOTSUPP, "add it to lsm=")
        .namespaces("user.max_net_namespaces");
    let refused = |errno| Stop::Refused {
        step: "making it".to_owned(),
        errno,
    };
    let free = Host::default();
    let filtered = Host {
        filtered: true,
        ..Host::default()
    };
    let change = |errno, host: &Host| remedy.change(&refused(errno), host);
    assert!(change(libc::EOPNOTSUPP, &free).starts_with("add it to lsm="));
    assert_eq!(change(libc::ENOSYS, &free), "use Linux 5.13");
    assert!(change(libc::ENOSYS, &filtered).contains("permit landlock_create_ruleset"));
    assert!(change(libc::ENOSPC, &free).contains("sysctl -w user.max_net_namespaces"));
    let ubuntu = Host {
        ubuntu: true,
        ..Host::default()
    };
    assert!(change(libc::EACCES, &ubuntu).contains("apparmor_restrict_unprivileged_userns"));
    let debian = Host {
        debian: true,
        ..Host::default()
    };
    assert!(change(libc::EPERM, &debian).contains("unprivileged_userns_clone"));
}
