//! The questions of one session, and whoever answers them.

use std::future::{pending, poll_fn};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Approver, AskRequest, Reply};
use crate::approval::{Admission, Answer, Case, Queue, Refusal, Site};
use crate::audit::Event;
use crate::policy::{Approval, Proto, Scope};
use crate::supervisor::gate::Held;
use crate::supervisor::printable::{printable, quoted};
use crate::supervisor::remark::Audience;

/// Characters of a path that a person can read at one glance, more or less. A longer one is denied:
/// what is not shown whole is not allowed.
const LONGEST: usize = 1000;
/// Characters of the program's words.
const LONGEST_PROGRAM: usize = 80;

/// See the module.
pub(in crate::supervisor) struct Desk {
    queue: Queue<Held>,
    somebody: Result<Box<dyn Approver>, &'static str>,
    program: String,
    /// When the next question is put.
    due: Option<Instant>,
}

/// What became of a call that the policy asks about.
pub(in crate::supervisor) enum Entry {
    /// An earlier answer allows it: that to the question of this number.
    Granted(Held, u64),
    /// It is denied for this reason.
    Refused(Held, String),
    /// The same is being asked already.
    Joined,
    /// It is to be asked, and this is to be recorded first.
    Opened(u64, Event),
}

impl Desk {
    /// With nobody there yet. `program` is the session's, in words.
    pub(in crate::supervisor) fn new(approval: &Approval, program: &[String]) -> Desk {
        let words: String = program.join(" ").chars().take(LONGEST_PROGRAM).collect();
        Desk {
            queue: Queue::new(approval.timeout(), approval.scopes()),
            somebody: Err("nobody is here to be asked"),
            program: printable(words.as_bytes()),
            due: None,
        }
    }

    /// Has this one asked, or nobody for that reason.
    pub(in crate::supervisor) fn seat(
        &mut self,
        somebody: Result<Box<dyn Approver>, &'static str>,
    ) {
        self.somebody = somebody;
    }

    /// Takes in a call.
    pub(in crate::supervisor) fn admit(&mut self, held: Held) -> Entry {
        let wish = held.wish.clone();
        if let Some(number) = self.queue.granted(&wish) {
            return Entry::Granted(held, number);
        }
        let found = match &mut self.somebody {
            Ok(somebody) => somebody.find(),
            Err(why) => Err((*why).to_owned()),
        };
        let of = match found {
            Ok(of) => of,
            Err(why) => return Entry::Refused(held, why),
        };
        if target(&held).chars().count() > LONGEST {
            let why = "it is too long to be shown to anybody";
            return Entry::Refused(held, why.to_owned());
        }
        let timeout = self.queue.timeout().as_secs_f64();
        match self.queue.admit(wish, held, Instant::now()) {
            Admission::Refused(held, why) => Entry::Refused(held, refusal(why).to_owned()),
            Admission::Joined => Entry::Joined,
            Admission::Opened(case) => {
                let (number, first) = (case.number, case.calls.first());
                match first.map(|held| held.event(number, of, timeout)) {
                    Some(event) => Entry::Opened(number, event),
                    None => Entry::Joined,
                }
            }
        }
    }

    /// Has the next question put soon, if there is one and it can be.
    pub(in crate::supervisor) fn prepare(&mut self) {
        let somebody = self.somebody.as_ref().ok();
        let (abreast, lead) = somebody.map_or((usize::MAX, Duration::ZERO), |somebody| {
            (somebody.abreast(), somebody.lead())
        });
        if self.due.is_none() && self.queue.unshown(abreast).is_some() {
            self.due = Some(Instant::now() + lead);
        }
    }

    /// Shows what is to be shown next, and gives back what cannot be, with the reason.
    pub(in crate::supervisor) fn show_next(
        &mut self,
        audience: &mut Audience,
    ) -> Option<(u64, String)> {
        self.due = None;
        loop {
            let somebody = match &mut self.somebody {
                Ok(somebody) => somebody,
                Err(why) => {
                    let number = self.queue.unshown(usize::MAX)?;
                    return Some((number, (*why).to_owned()));
                }
            };
            let number = self.queue.unshown(somebody.abreast())?;
            let request = request(&self.queue, number, &self.program)?;
            match somebody.show(&request, audience) {
                Ok(()) => self.queue.show(number, Instant::now()),
                Err(why) => return Some((number, why)),
            }
        }
    }

    /// Takes away what is shown, to show it again later.
    pub(in crate::supervisor) fn hide(&mut self, audience: &mut Audience) {
        for number in self.queue.shown() {
            self.withdraw(number, None, audience);
            self.queue.hide(number);
        }
    }

    /// Whether a question stands on the terminal.
    pub(in crate::supervisor) fn has_the_terminal(&self) -> bool {
        let somebody = self.somebody.as_ref();
        somebody.is_ok_and(|somebody| somebody.has_the_terminal())
    }

    /// Every question that waits.
    pub(in crate::supervisor) fn waiting(&self) -> Vec<u64> {
        self.queue.waiting()
    }

    /// A question that waits.
    pub(in crate::supervisor) fn case(&self, number: u64) -> Option<&Case<Held>> {
        self.queue.case(number)
    }

    /// Whether it can be answered so.
    pub(in crate::supervisor) fn admits(&self, number: u64, answer: &Answer) -> bool {
        self.queue.admits(number, answer)
    }

    /// Ends a question, with everything that the answer answers too.
    pub(in crate::supervisor) fn close(
        &mut self,
        number: u64,
        answer: &Answer,
        why: Option<&str>,
        audience: &mut Audience,
    ) -> Vec<Case<Held>> {
        let closed = self.queue.close(number, answer);
        for case in &closed {
            let why = if case.number == number { why } else { None };
            self.withdraw(case.number, why, audience);
        }
        closed
    }

    /// Goes on under another policy: takes every question away, and forgets former answers.
    pub(in crate::supervisor) fn go_over(
        &mut self,
        approval: &Approval,
        why: &str,
        audience: &mut Audience,
    ) -> Vec<Case<Held>> {
        let closed = self.queue.renew(approval.timeout(), approval.scopes());
        for case in &closed {
            self.withdraw(case.number, Some(why), audience);
        }
        closed
    }

    fn withdraw(&mut self, number: u64, why: Option<&str>, audience: &mut Audience) {
        if let Ok(somebody) = &mut self.somebody {
            somebody.withdraw(number, why, audience);
        }
    }

    /// What comes of a question next; without one, nothing ever. Safe to drop.
    pub(in crate::supervisor) async fn next(&mut self) -> Reply {
        let (deadline, due) = (self.queue.deadline(), self.due);
        let prepared = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let queue = &self.queue;
        let somebody = self.somebody.as_mut().ok();
        let late = async {
            let Some(deadline) = deadline else {
                return pending().await;
            };
            tokio::time::sleep_until(deadline.into()).await;
            match queue.overdue(deadline) {
                Some(number) => Reply::Late(number),
                None => pending().await,
            }
        };
        let said = async {
            match somebody {
                Some(somebody) => poll_fn(|context| somebody.poll_reply(context)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            reply = said => reply,
            reply = late => reply,
            () = prepared => Reply::Prepared,
        }
    }
}

fn target(held: &Held) -> String {
    use std::os::unix::ffi::OsStrExt;
    match (held.wish.path(), held.wish.site()) {
        (Some(path), _) => quoted(path.as_os_str().as_bytes()),
        (None, Some(site)) => place(site),
        (None, None) => held.target().to_owned(),
    }
}

/// `name.example, port 443, at 192.0.2.1 or 192.0.2.2`, and `UDP port` of datagrams; of a request `POST /x, to name.example, port 443`.
fn place(site: &Site) -> String {
    if let Some(request) = &site.request {
        let host = site.host.as_deref().unwrap_or_default();
        let words = format!("{request}, to {host}, port {}", site.port);
        return printable(words.as_bytes());
    }
    let addresses: Vec<String> = site.addresses.iter().map(IpAddr::to_string).collect();
    let (addresses, port) = (addresses.join(" or "), site.port);
    let kind = match site.proto {
        Proto::Tcp => "port",
        Proto::Udp => "UDP port",
    };
    match &site.host {
        Some(host) => format!(
            "{}, {kind} {port}, at {addresses}",
            printable(host.as_bytes())
        ),
        None => format!("{addresses}, {kind} {port}"),
    }
}

fn request(queue: &Queue<Held>, number: u64, program: &str) -> Option<AskRequest> {
    let case = queue.case(number)?;
    let first = case.calls.first()?;
    let path = case.wish.path();
    let scopes = queue.scopes().iter().copied();
    // Of what has no path there is none below it.
    let scopes = scopes.filter(|scope| path.is_some() || *scope != Scope::Path);
    Some(AskRequest {
        number,
        operation: case.wish.act().words(),
        target: target(first),
        path: path.map(Path::to_owned),
        site: case.wish.site().cloned(),
        rule: case.wish.rule().clone(),
        pid: first.pid(),
        program: program.to_owned(),
        scopes: scopes.collect(),
        timeout: queue.timeout(),
    })
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::Crowded => "too many questions wait already",
        Refusal::Spent => "too much was asked in this session",
        Refusal::Never => "nothing is asked any more, as it was answered",
        Refusal::NoScope => "the policy's approval.scopes leave no answer that allows",
    }
}

#[cfg(test)]
mod tests;
