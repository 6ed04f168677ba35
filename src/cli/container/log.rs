//! Messages of a container verb: to standard error for a person, and to the file that the caller
//! reads them from.

use std::fs::{File, OpenOptions};
use std::io::Write;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber, span};
use tracing_subscriber::field::VisitOutput;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

use super::args::{Globals, LogFormat};
use crate::cli::voice;

fn open(globals: &Globals) -> Option<File> {
    let path = globals.log.as_ref()?;
    let file = OpenOptions::new().append(true).create(true).open(path);
    match file {
        Ok(file) => Some(file),
        Err(error) => {
            voice::say(&format!("cannot open the log {}: {error}", path.display()));
            None
        }
    }
}

/// From now on what is noted goes to the file, or with `--debug` and without a file to standard
/// error.
pub(super) fn begin(globals: &Globals) {
    let lines = Lines {
        format: globals.log_format.unwrap_or(LogFormat::Text),
        level: match globals.debug {
            true => LevelFilter::DEBUG,
            false => LevelFilter::WARN,
        },
        file: open(globals),
    };
    let begun = tracing::subscriber::set_global_default(lines);
    if begun.is_err() {
        voice::say("the log was begun twice");
    }
}

/// Says why the verb failed, where a person and where the caller reads it.
pub(super) fn fail(globals: &Globals, text: &str) {
    voice::say(text);
    let Some(mut file) = open(globals) else {
        return;
    };
    let format = globals.log_format.unwrap_or(LogFormat::Text);
    let line = line(format, "error", text);
    if let Err(error) = file.write_all(line.as_bytes()) {
        voice::say(&format!("cannot write to the log: {error}"));
    }
}

fn line(format: LogFormat, level: &str, text: &str) -> String {
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    match format {
        LogFormat::Json => {
            let object = serde_json::json!({"level": level, "msg": text, "time": time});
            format!("{object}\n")
        }
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
    }
}

/// Writes events. It keeps nothing of spans, which no message here tells of: a registry of them would
/// be made for every verb.
struct Lines {
    format: LogFormat,
    level: LevelFilter,
    /// Standard error, where there is none.
    file: Option<File>,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        let mut fields = DefaultVisitor::new(Writer::new(&mut text), true);
        event.record(&mut fields);
        let told = fields.finish();
        let level = match *event.metadata().level() {
            tracing::Level::WARN => "warning",
            tracing::Level::ERROR => "error",
            tracing::Level::INFO => "info",
            _ => "debug",
        };
        let line = line(self.format, level, &text);
        let written = match &self.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        if told.is_err() || written.is_err() {
            voice::say("a message could not be written to the log");
        }
    }

    /// Spans are not enabled, and none has a number.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
