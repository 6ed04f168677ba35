//! Messages of a container verb: to standard error for a person, and to the file that the caller
//! reads them from.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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
    let level = match globals.debug {
        true => LevelFilter::DEBUG,
        false => LevelFilter::WARN,
    };
    let lines = Lines(globals.log_format.unwrap_or(LogFormat::Text));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(lines);
    let begun = match open(globals) {
        Some(file) => {
            let subscriber = subscriber.with_writer(Mutex::new(file)).finish();
            tracing::subscriber::set_global_default(subscriber)
        }
        None => {
            let subscriber = subscriber.with_writer(std::io::stderr).finish();
            tracing::subscriber::set_global_default(subscriber)
        }
    };
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

struct Lines(LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let level = match *event.metadata().level() {
            tracing::Level::WARN => "warning",
            tracing::Level::ERROR => "error",
            tracing::Level::INFO => "info",
            _ => "debug",
        };
        writer.write_str(&line(self.0, level, &text))
    }
}
