//! The combined log on the terminal: whose line it is, then the line.

use std::io::{IsTerminal, Write, stdout};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;

/// Writes one line of somebody's.
pub fn print_line(who: &str, line: &str) {
    let mut out = stdout().lock();
    // If nobody reads any more, the work goes on.
    let _ = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        writeln!(out, "\x1b[{}m{who:<11} │\x1b[0m {line}", colour(who))
    } else {
        writeln!(out, "{who:<11} | {line}")
    };
}

/// Passes a child's lines on as they come.
pub fn pass_on(who: &'static str, child: &mut Child) {
    if let Some(lines) = child.stdout.take() {
        tokio::spawn(pass_lines_on(who, lines));
    }
    if let Some(lines) = child.stderr.take() {
        tokio::spawn(pass_lines_on(who, lines));
    }
}

async fn pass_lines_on(who: &str, lines: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(lines).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        print_line(who, &String::from_utf8_lossy(&line));
    }
}

fn colour(who: &str) -> u8 {
    match who {
        "web-store" => 36,
        "transformer" => 35,
        "marketing" => 33,
        _ => 1,
    }
}
