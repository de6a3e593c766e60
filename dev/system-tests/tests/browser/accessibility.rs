//! Automatic accessibility checks with axe-core.

use std::fs;

use anyhow::Context;

use crate::browser::Browser;

const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/node_modules/axe-core/axe.min.js");

/// Runs the default rules of axe-core: WCAG 2.2 at levels A and AA, and its own best practices.
const RUN: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, {resultTypes: ['violations']}).then(
        results => done(results.violations.map(violation =>
            violation.id + ': ' + violation.help + ' at ' +
            violation.nodes.map(node => node.target + ' (' + node.failureSummary + ')').join('; '))),
        error => done(['axe failed: ' + error]));";

/// Panics with all violations on the open page.
pub(crate) async fn assert_accessible(browser: &Browser, state: &str) -> anyhow::Result<()> {
    let violations = violations(browser).await?;
    assert!(violations.is_empty(), "{state}: {violations:#?}");
    Ok(())
}

/// Returns each violation on the open page: the rule, its text, and the elements.
pub(crate) async fn violations(browser: &Browser) -> anyhow::Result<Vec<String>> {
    let axe = fs::read_to_string(AXE)
        .context("axe-core is not installed; run script/test, or npm ci in dev/system-tests/browser")?;
    assert_eq!(browser.evaluate(&format!("{axe}; return typeof axe")).await?, "object");
    let violations = browser.page.execute_async(RUN, Vec::new()).await?;
    Ok(serde_json::from_value(violations.json().clone())?)
}
