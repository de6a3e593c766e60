//! The combined log on standard output. Each line begins with the name of its source.

use std::{
    env,
    io::{IsTerminal, Write, stdout},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
};

/// Prints one line of `source`, in the color of the source if standard output is a terminal.
pub fn print_line(source: &str, line: &str) {
    let mut out = stdout().lock();
    // The system keeps running when the reader of a pipe has closed it.
    let _ = if out.is_terminal() && env::var_os("NO_COLOR").is_none() {
        writeln!(out, "\x1b[{}m{source:<11} │\x1b[0m {line}", color(source))
    } else {
        writeln!(out, "{source:<11} | {line}")
    };
}

/// Prints each line that a child writes to its piped output.
pub(crate) fn forward_output(source: &'static str, child: &mut Child) {
    if let Some(output) = child.stdout.take() {
        tokio::spawn(forward_lines(source, output));
    }
    if let Some(output) = child.stderr.take() {
        tokio::spawn(forward_lines(source, output));
    }
}

async fn forward_lines(source: &str, output: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        print_line(source, &String::from_utf8_lossy(&line));
    }
}

/// Returns the parameter of the terminal's color sequence.
fn color(source: &str) -> u8 {
    match source {
        "web-store" => 36,
        "transformer" => 35,
        "marketing" => 33,
        "console" => 32,
        _ => 1,
    }
}
