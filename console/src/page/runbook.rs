//! The runbook of this release, which the page serves itself: it must be readable while other sites are not.

use std::{collections::HashMap, sync::LazyLock};

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

const MARKDOWN: &str = include_str!("../../../docs/operations.md");

/// The runbook of this release.
pub(super) static RUNBOOK: LazyLock<Runbook> = LazyLock::new(|| Runbook::new(MARKDOWN));

/// The runbook as HTML.
#[derive(Debug, Default)]
pub(super) struct Runbook {
    /// The anchor and the title of each section.
    pub(super) contents: Vec<(String, String)>,
    pub(super) html: String,
}

impl Runbook {
    /// Converts a trusted text. Headings get anchors, wide tables scroll, and links to other files become text.
    fn new(markdown: &str) -> Self {
        let mut runbook = Self::default();
        let mut anchors = Anchors::default();
        let mut events: Vec<Event<'_>> = Vec::new();
        // For each open link, whether it is kept.
        let mut links = Vec::new();
        let source: Vec<_> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
        for (n, event) in source.iter().enumerate() {
            match event {
                Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                    let title = text(&source[n + 1..]);
                    let anchor = anchors.of(&title);
                    if *level == HeadingLevel::H2 {
                        runbook.contents.push((anchor.clone(), title));
                    }
                    let id = Some(CowStr::from(anchor));
                    let (classes, attrs) = (classes.clone(), attrs.clone());
                    events.push(Event::Start(Tag::Heading { level: *level, id, classes, attrs }));
                }
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let is_kept =
                        ["#", "http://", "https://"].iter().any(|start| dest_url.starts_with(start));
                    links.push(is_kept);
                    if is_kept {
                        events.push(event.clone());
                    }
                }
                Event::End(TagEnd::Link) => {
                    if links.pop() == Some(true) {
                        events.push(event.clone());
                    }
                }
                Event::Start(Tag::Table(_)) => {
                    events.push(Event::Html("<div class=\"scroll\" tabindex=\"0\">".into()));
                    events.push(event.clone());
                }
                Event::End(TagEnd::Table) => {
                    events.push(event.clone());
                    events.push(Event::Html("</div>\n".into()));
                }
                _ => events.push(event.clone()),
            }
        }
        html::push_html(&mut runbook.html, events.into_iter());
        runbook
    }
}

/// Returns the text of a heading whose content begins here.
fn text(events: &[Event<'_>]) -> String {
    let content = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let texts = content.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        _ => None,
    });
    texts.collect()
}

/// The anchors of the headings, as hosts of repositories make them: the links of alerts contain them.
#[derive(Debug, Default)]
struct Anchors(HashMap<String, u32>);

impl Anchors {
    fn of(&mut self, title: &str) -> String {
        let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
        let anchor: String = title.to_lowercase().chars().filter(is_kept).collect();
        let anchor = anchor.replace(' ', "-");
        let earlier = self.0.entry(anchor.clone()).or_default();
        *earlier += 1;
        if *earlier == 1 { anchor } else { format!("{anchor}-{}", *earlier - 1) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{RUNBOOK, Runbook};

    #[test]
    fn each_link_of_an_alert_leads_to_a_section() {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/alerts/rules.yml");
        let rules = fs::read_to_string(rules).unwrap();
        let links: Vec<_> = rules.split("runbook: docs/operations.md#").skip(1).collect();
        assert!(links.len() > 10, "{links:?}");
        for link in links {
            let anchor = link.lines().next().unwrap();
            assert!(RUNBOOK.html.contains(&format!("id=\"{anchor}\"")), "{anchor}");
        }
    }

    #[test]
    fn headings_have_unique_anchors_and_files_are_no_links() {
        let text = "# A\n\n## The `b` page's end\n\n[c](c.md) [d](#d)\n\n## The b pages end\n";
        let Runbook { contents, html } = Runbook::new(text);
        let anchors: Vec<_> = contents.iter().map(|(anchor, _)| anchor.as_str()).collect();
        assert_eq!(anchors, ["the-b-pages-end", "the-b-pages-end-1"]);
        assert!(html.contains("<p>c <a href=\"#d\">d</a></p>"), "{html}");
    }
}
