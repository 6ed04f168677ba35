//! Who is asked about an operation or a connection that waits: the person at the terminal of a run, or the program
//! that owns a library session.
//!
//! It trusts the caller's terminal to be the caller's. The path in a question is the worker's
//! choice and is shown so that it cannot mislead. Without an answer (nobody there, too late, the end
//! of input, an error) it is a no; and nothing that was typed before a question stood there whole is
//! ever an answer to it.

mod desk;
mod owner;
mod prompt;
mod tty;

use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) use self::desk::{Desk, Entry};
pub(super) use self::owner::Owner;
pub(super) use self::prompt::Prompt;
use super::remark::Audience;
use crate::approval::{Answer, Site};
use crate::policy::{RuleRef, Scope};

/// A question to a person.
#[derive(Debug, Clone)]
pub struct AskRequest {
    /// What an answer names: from 1, in the order of asking.
    pub number: u64,
    /// What the program wants to do with the path: `read`, `create or write`, ...; or `connect to`.
    pub operation: &'static str,
    /// The path, safe to print: in quotation marks, with everything escaped that could mislead. Of a
    /// connection the name, the port and the addresses.
    pub target: String,
    /// The path itself: the worker's choice, and not safe to print. `None` of a connection.
    pub path: Option<PathBuf>,
    /// Where a connection is to lead.
    pub site: Option<Site>,
    /// The rule that asks.
    pub rule: RuleRef,
    /// The process, as its sandbox counts; nobody knows it of a connection.
    pub pid: Option<u32>,
    /// The session's program, safe to print.
    pub program: String,
    /// How far an answer that allows may reach.
    pub scopes: Vec<Scope>,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer.
    Said(u64, Answer),
    /// There will be none, and why.
    Silent(u64, String),
    /// There was none in time.
    Late(u64),
    /// It is time to put the next question.
    Prepared,
}

/// Somebody who can be asked. None of this waits.
pub(super) trait Approver: Send {
    /// Who is going to be asked, in words.
    ///
    /// # Errors
    /// Why nobody is there, in words.
    fn find(&mut self) -> Result<String, String>;

    /// How long what the program has written before has to be shown, before a question is.
    fn lead(&self) -> Duration;

    /// How many questions may stand before them at one time.
    fn abreast(&self) -> usize;

    /// Puts a question.
    ///
    /// # Errors
    /// Why it cannot be put, in words.
    fn show(&mut self, request: &AskRequest, audience: &mut Audience) -> Result<(), String>;

    /// What comes of the questions that stand; nothing where there is none.
    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Reply>;

    /// Takes a question away, with a word why if it has no answer.
    fn withdraw(&mut self, number: u64, why: Option<&str>, audience: &mut Audience);

    /// Whether a question stands on the terminal, where nothing else may be written or read then.
    fn has_the_terminal(&self) -> bool;
}
