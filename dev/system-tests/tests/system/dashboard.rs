//! The dashboard of Grafana: its queries parse, and use only metrics and labels that the services have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::metrics::documented;

/// Labels that Prometheus adds, and the label of the buckets of a histogram.
const OTHER_LABELS: [&str; 3] = ["job", "instance", "le"];

/// Words of a query after which labels follow in parentheses.
const CLAUSES: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Other words of a query that are neither functions nor metrics.
const KEYWORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// The text after the name of a function or of an aggregation, without white space before it.
const AFTER_FUNCTIONS: [&str; 3] = ["(", "by ", "without "];

fn read(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/observe/grafana");
    fs::read_to_string(directory.join(name)).unwrap()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("customers.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// Returns each query with the title of its panel. Grafana's variables have values, as in a browser.
fn queries() -> Vec<(String, String)> {
    let query = |panel: &Value, target: &Value| {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "1m").replace("$__range", "30m");
        (panel["title"].as_str().unwrap().to_owned(), query)
    };
    let queries_of = |panel: &Value| {
        panel["targets"].as_array().unwrap().iter().map(|target| query(panel, target)).collect::<Vec<_>>()
    };
    panels().iter().flat_map(queries_of).collect()
}

/// The names in a query.
#[derive(Default)]
struct Names {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Returns the names of metrics and labels. Names in `{}` and after a clause are labels.
fn names(query: &str) -> Names {
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = Names::default();
    let mut in_labels = false;
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' | '[' => {
                let end = if first == '"' { '"' } else { ']' };
                rest = rest[1..].split_once(end).expect("promtool has accepted the query").1;
            }
            'a'..='z' | '_' => {
                let (name, after) = rest.split_at(rest.find(|c| !is_in_name(c)).unwrap_or(rest.len()));
                rest = after.trim_start();
                if in_labels {
                    names.labels.insert(name.to_owned());
                } else if CLAUSES.contains(&name) {
                    in_labels = rest.starts_with('(');
                } else if !AFTER_FUNCTIONS.iter().any(|next| rest.starts_with(next))
                    && !KEYWORDS.contains(&name)
                {
                    names.metrics.insert(name.to_owned());
                }
            }
            _ => {
                in_labels = first == '{' || (in_labels && !matches!(first, '}' | ')'));
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    names
}

#[test]
fn every_query_parses() {
    let rules: Vec<_> = queries()
        .iter()
        .enumerate()
        .map(|(number, (_, query))| json!({"record": format!("query:{number}"), "expr": query}))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    // JSON is valid YAML.
    let file = directory.path().join("queries.yml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(rules.len() >= panels().len());
}

#[test]
fn every_metric_and_label_is_documented() {
    let documented = documented();
    for (title, query) in queries() {
        let Names { metrics, labels } = names(&query);
        assert!(!metrics.is_empty(), "{title}: {query}");
        let mut known: BTreeSet<String> = OTHER_LABELS.map(str::to_owned).into();
        for metric in metrics {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let (kind, labels) = documented.get(metric.strip_suffix(suffix)?)?;
                (kind == "histogram").then_some(labels)
            });
            let other = documented.get(&metric).filter(|(kind, _)| kind != "histogram");
            let labels = of_histogram.or(other.map(|(_, labels)| labels));
            known.extend(labels.unwrap_or_else(|| panic!("{title}: {metric} is not documented")).clone());
        }
        assert!(labels.is_subset(&known), "{title}: unknown labels in {query}");
    }
}

#[test]
fn panels_have_their_places_and_a_known_data_source() {
    let sources = read("datasources.yml");
    let mut tiles = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "repeated id: {panel}");
        for target in panel["targets"].as_array().unwrap().iter().chain([&panel]) {
            let uid = target["datasource"]["uid"].as_str().unwrap();
            assert!(sources.contains(&format!("uid: {uid}\n")), "{uid}");
        }
        let number = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "Grafana has 24 columns: {panel}");
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                let other = tiles.insert((x, y), panel["title"].clone());
                assert_eq!(other, None, "overlaps with {}", panel["title"]);
            }
        }
    }
}

#[test]
fn names_in_a_query_are_found() {
    let Names { metrics, labels } =
        names("sum by (le, job) (rate(a_total{b=\"c d\",e!=\"f\"}[5m])) / on (job) max(g) > bool 1");
    assert_eq!(metrics.into_iter().collect::<Vec<_>>(), ["a_total", "g"]);
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["b", "e", "job", "le"]);
}
