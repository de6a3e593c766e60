//! On the smallest scale, every measurement reports its figures. Their values do not matter here.

use std::process::Command;

use serde_json::Value;

/// Figures of each measurement, by the beginning of their names.
const FIGURES: [&str; 27] = [
    "PostgreSQL alone, 32 clients",
    "RabbitMQ alone, one quorum queue",
    "RabbitMQ alone, two quorum queues",
    "MySQL alone, one client",
    "the servers' part of the way",
    "HTTP, 1 connection: registrations",
    "HTTP, 256 connections: answer, p99",
    "end to end, 32 connections: rows",
    "CPU per registration: our three processes",
    "CPU per registration: RabbitMQ",
    "peak memory at saturation: marketing",
    "drain of 60 waiting events: rows",
    "drain of 60 waiting events: peak memory",
    "registered to visible row, at 50/s: p99.9",
    "registered to visible row, at half of saturation: p50",
    "start to ready: web-store",
    "size of the binary: transformer",
    "drain of 20 waiting events: rows",
    "end to end, 3 of each service: rows",
    "CPU with 3 of each service: RabbitMQ",
    "CPU with 3 of each service: busy time of the half with servers",
    "replay of 300 customers: events",
    "registered to visible row, at 50/s, during a replay",
    "end to end, events of",
    "end to end, 10,000 rows in Marketing: rows",
    "the console's page, 0 waiting events: response, p95",
    "the console's page, 20 waiting events: response, p95",
];

/// All ratios, by the beginning of their names.
const RATIOS: [&str; 7] = [
    "accepted over HTTP ÷ PostgreSQL alone",
    "end to end ÷ PostgreSQL alone",
    "drain ÷ two queues in a row alone",
    "registered to visible row at 50/s ÷ the servers' part",
    "registered to visible row at 50/s, during a replay ÷ before",
    "rows/s with 20 ÷ with 20 waiting",
    "rows/s with 10,000 ÷ with 1,000 rows in Marketing",
];

#[test]
fn every_measurement_reports_figures_in_each_run() {
    let report: Value = serde_json::from_slice(&bench(&["--json"])).unwrap();
    for (part, names) in [("figures", &FIGURES[..]), ("ratios", &RATIOS[..])] {
        for name in names {
            let figures = report[part].as_array().unwrap();
            let has_name = |figure: &&Value| figure["figure"].as_str().unwrap().starts_with(name);
            assert_figure(figures.iter().find(has_name).unwrap_or_else(|| panic!("no {name} in {report:#}")));
        }
    }
    assert!(report["cpus"].as_u64() >= Some(1), "{report:#}");
    assert!(report["taken_by_others"].as_f64() >= Some(0.0), "{report:#}");
}

#[test]
fn selected_measurement_is_reported_alone_in_table() {
    let table = String::from_utf8(bench(&["start", "--runs", "1"])).unwrap();
    assert!(table.contains("| start to ready: marketing | ms |"), "{table}");
    assert!(!table.contains("PostgreSQL alone"), "{table}");
    assert!(table.contains("other processes took"), "{table}");
}

/// Runs the program on the smallest scale, twice unless `--runs` is given. Returns its standard output.
fn bench(arguments: &[&str]) -> Vec<u8> {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(arguments).args(["--dir", env!("CARGO_TARGET_TMPDIR")]);
    if !arguments.contains(&"--runs") {
        bench.args(["--runs", "2"]);
    }
    bench.args([
        "--registrations",
        "40",
        "--seconds",
        "0.3",
        "--latency-seconds",
        "0.5",
        "--idle-seconds",
        "0",
        "--messages",
        "300",
    ]);
    bench.args([
        "--waiting",
        "60",
        "--largest-backlog",
        "20",
        "--largest-table",
        "10000",
        "--replayed",
        "300",
    ]);
    let output = bench.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn assert_figure(figure: &Value) {
    let value = |name: &str| figure[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figure}"));
    assert!(value("min") <= value("median") && value("median") <= value("max"), "{figure}");
    assert_eq!(figure["runs"].as_array().unwrap().len(), 2, "{figure}");
    // The kernel counts CPU time in ticks, so a little of it may be counted as 0.
    let may_be_zero = figure["figure"].as_str().unwrap().starts_with("CPU");
    assert!(value("min") > 0.0 || may_be_zero, "{figure}");
}
