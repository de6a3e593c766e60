//! axe-core: what a program can find of barriers on a page.

use std::path::Path;

use super::browser::Browser;

const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/node_modules/axe-core/axe.min.js");

/// All that axe checks unless told otherwise: WCAG 2.2 at levels A and AA, and its own best practices.
const RUN: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, {resultTypes: ['violations']}).then(
        results => done(results.violations.map(violation =>
            violation.id + ': ' + violation.help + ' at ' +
            violation.nodes.map(node => node.target + ' (' + node.failureSummary + ')').join('; '))),
        error => done(['axe failed: ' + error]));";

/// Panics with all that axe finds.
pub(crate) async fn assert_no_barriers(browser: &Browser, state: &str) {
    let found = barriers(browser).await;
    assert!(found.is_empty(), "{state}: {found:#?}");
}

/// Each barrier on the open page: the rule, what it says, and where.
pub(crate) async fn barriers(browser: &Browser) -> Vec<String> {
    assert!(
        Path::new(AXE).exists(),
        "axe-core is not installed; run script/test, or npm ci in stack/browser"
    );
    let axe = std::fs::read_to_string(AXE).unwrap();
    assert_eq!(browser.evaluate(&format!("{axe}; return typeof axe")).await, "object");
    let violations = browser.page.execute_async(RUN, Vec::new()).await.unwrap();
    serde_json::from_value(violations.json().clone()).unwrap()
}
