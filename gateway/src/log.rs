//! Log lines: to standard error, one per event, with the name of the process that says it.

use crate::visible::visible;
use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts the log of this process. To be called once, first of all.
pub(crate) fn start(process: &'static str) {
    let inner =
        tracing_subscriber::fmt::format().compact().without_time().with_target(false).with_ansi(false);
    tracing_subscriber::fmt()
        .event_format(Named { process, inner })
        .with_writer(std::io::stderr)
        .with_max_level(Level::INFO)
        .init();
}

/// Nothing of an event is obeyed by a terminal, and a line that goes on is none that somebody else could have written: it is indented.
fn in_line(text: &str) -> String {
    visible(text.trim_end()).replace('\n', "\n    ")
}

struct Named {
    process: &'static str,
    inner: Format<Compact, ()>,
}

impl<S, N> FormatEvent<S, N> for Named
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = jiff::Timestamp::now();
        let now = now.round(jiff::Unit::Millisecond).unwrap_or(now);
        write!(out, "{now:.3} {:<9} ", self.process)?;
        let mut text = String::new();
        self.inner.format_event(ctx, Writer::new(&mut text), event)?;
        writeln!(out, "{}", in_line(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_obeyed_by_nobody_and_looks_like_no_other() {
        let evil = "no \u{1b}[2Jsuch\r\n2026-01-01T00:00:00.000Z control   INFO all is well\n";
        assert_eq!(in_line(evil), "no �[2Jsuch�\n    2026-01-01T00:00:00.000Z control   INFO all is well");
    }
}
