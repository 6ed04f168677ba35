//! The question on the terminal of `buntime run`.
//!
//! A program may have left its terminal in any state, may have written what looks like a question,
//! and may know what its user types at any moment. So a question begins with what undoes the
//! state, the program's output is held back while it stands, what was typed before its last line
//! stood there is forgotten, and an answer is a whole word.

use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::tty::{self, Tty};
use super::{Approver, AskRequest, Reply};
use crate::approval::Answer;
use crate::policy::Scope;
use crate::supervisor::printable::printable;
use crate::supervisor::remark::Audience;

/// How long a question stands before it can be answered: nobody reads it faster, and what is typed
/// until then was typed for something else.
const READING: Duration = Duration::from_millis(400);
/// What a program writes before it asks is in our hands by then.
const LEAD: Duration = Duration::from_millis(50);
/// How often it is looked whether we are in the foreground again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often what is typed may be no answer.
const TRIES: u8 = 3;

/// Ends a half-written sequence, resets modes, margins, character sets and colours, wraps lines,
/// and clears what stands below (ECMA-48; DECSTR and the private modes of xterm).
const CLEAN: &str = "\x18\x1b\\\x1b[!p\x1b[?69l\x1b[?7h\x1b[0m\x0f\n\x1b[J";

/// The person at the terminal by which this process is controlled.
pub(in crate::supervisor) struct Prompt {
    /// What undoes the state of the terminal.
    clean: &'static str,
    shown: Option<Shown>,
}

/// A question that stands there.
struct Shown {
    tty: Tty,
    number: u64,
    path: Option<PathBuf>,
    scopes: Vec<Scope>,
    stage: Stage,
    tries: u8,
    timer: Pin<Box<Sleep>>,
}

/// How far a question is.
enum Stage {
    /// It is being written.
    Saying,
    /// It stands there, and is being read.
    Standing,
    /// It can be answered.
    Open,
}

impl Prompt {
    /// `term` is the kind of the terminal, as its variable says. Touches nothing.
    pub(in crate::supervisor) fn new(term: Option<&str>) -> Prompt {
        let knows_none = matches!(term, None | Some("dumb" | ""));
        Prompt {
            clean: if knows_none { "\n" } else { CLEAN },
            shown: None,
        }
    }

    fn put(&mut self, mut tty: Tty, request: &AskRequest) {
        tty.say(self.clean);
        tty.say(&text(request));
        self.shown = Some(Shown {
            tty,
            number: request.number,
            path: request.path.clone(),
            scopes: request.scopes.clone(),
            stage: Stage::Saying,
            tries: 0,
            timer: Box::pin(sleep(READING)),
        });
    }
}

impl Approver for Prompt {
    fn find(&mut self) -> Result<String, String> {
        if self.shown.is_none() {
            tty::find().map_err(|absent| absent.words().to_owned())?;
        }
        let uid = rustix::process::getuid().as_raw();
        Ok(format!("user {uid} at the terminal"))
    }

    fn lead(&self) -> Duration {
        LEAD
    }

    fn abreast(&self) -> usize {
        1
    }

    fn show(&mut self, request: &AskRequest, _audience: &mut Audience) -> Result<(), String> {
        let tty = Tty::borrow().map_err(|absent| absent.words().to_owned())?;
        self.put(tty, request);
        Ok(())
    }

    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Reply> {
        let Some(shown) = &mut self.shown else {
            return Poll::Pending;
        };
        let number = shown.number;
        Poll::Ready(match ready!(shown.poll_answer(context)) {
            Ok(Ok(answer)) => Reply::Said(number, answer),
            Ok(Err(why)) => Reply::Silent(number, why.to_owned()),
            Err(error) => Reply::Silent(number, format!("the terminal cannot be read: {error}")),
        })
    }

    fn withdraw(&mut self, number: u64, why: Option<&str>, _audience: &mut Audience) {
        if let Some(shown) = self.shown.take_if(|shown| shown.number == number) {
            let last = why.map(|why| format!("\n  denied: {why}\n"));
            shown.tty.give_back(&last.unwrap_or_default());
        }
    }

    fn has_the_terminal(&self) -> bool {
        self.shown.is_some()
    }
}

impl Shown {
    /// The answer, or why there will be none.
    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<Result<Answer, &'static str>>> {
        loop {
            ready!(self.tty.poll_said(context))?;
            if let Stage::Saying = self.stage {
                self.timer.as_mut().reset(Instant::now() + READING);
                self.stage = Stage::Standing;
            }
            if !self.tty.is_ours() {
                ready!(self.timer.as_mut().poll(context));
                self.timer.as_mut().reset(Instant::now() + AGAIN);
                continue;
            }
            if let Stage::Standing = self.stage {
                ready!(self.timer.as_mut().poll(context));
                self.tty.forget_typed()?;
                self.stage = Stage::Open;
                self.tty.say("  answer [deny]: ");
                continue;
            }
            let Some(line) = ready!(self.tty.poll_line(context))? else {
                return Poll::Ready(Ok(Err("the input ended")));
            };
            if let Some(answer) = self.answer(&line) {
                return Poll::Ready(Ok(Ok(answer)));
            }
            self.tries += 1;
            if self.tries >= TRIES {
                return Poll::Ready(Ok(Err("what was typed is no answer")));
            }
            self.tty
                .say("  that is no answer; one of the words [deny]: ");
        }
    }

    fn answer(&self, line: &[u8]) -> Option<Answer> {
        let path = self.path.as_deref();
        let answer = parse(line.trim_ascii(), path)?;
        let is_open = |scope| self.scopes.contains(&scope);
        (answer.fits(path) && answer.scope().is_none_or(is_open)).then_some(answer)
    }
}

fn parse(words: &[u8], path: Option<&Path>) -> Option<Answer> {
    Some(match words {
        b"" | b"deny" => Answer::Deny,
        b"never" => Answer::Never,
        b"once" => Answer::Once,
        b"session" => Answer::Session,
        b"path" => Answer::Path(path?.to_owned()),
        _ => {
            let place = words.strip_prefix(b"path ")?.trim_ascii();
            let place = Path::new(std::ffi::OsStr::from_bytes(place));
            place
                .is_absolute()
                .then(|| Answer::Path(place.to_owned()))?
        }
    })
}

/// The question but for its last line.
fn text(request: &AskRequest) -> String {
    let AskRequest {
        operation,
        target,
        path,
        rule,
        pid,
        program,
        scopes,
        timeout,
        ..
    } = request;
    let mut text = format!("buntime: may the program {operation} this?\n  {target}\n");
    if !target.is_ascii() {
        let ascii: String = target.chars().map(ascii).collect();
        text.push_str(&format!("  in ASCII: {ascii}\n"));
    }
    let rule = printable(format!("{rule}, {}", rule.location()).as_bytes());
    text.push_str(&format!("  rule:    {rule}\n"));
    let process = pid.map(|pid| format!(" (process {pid} inside)"));
    let process = process.unwrap_or_default();
    text.push_str(&format!("  program: {program}{process}\n"));
    for scope in scopes {
        text.push_str(match scope {
            Scope::Once => "  once     yes, this time\n",
            Scope::Path => {
                "  path     yes, for this path and what is below it, until the run ends; with a \
                 folder above it (path /FOLDER), for that\n"
            }
            Scope::Session if path.is_none() => {
                "  session  yes, to just this, until the run ends\n"
            }
            Scope::Session => "  session  yes, wherever this rule asks so, until the run ends\n",
        });
    }
    text.push_str("  deny     no\n  never    no, and ask no more\n");
    let seconds = timeout.as_secs_f64();
    text.push_str(&format!("  no answer within {seconds} s is a no\n"));
    text
}

fn ascii(character: char) -> String {
    if character.is_ascii() {
        character.to_string()
    } else {
        character.escape_unicode().to_string()
    }
}

#[cfg(test)]
mod tests;
