//! The rules of a customer's name.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

const MAX_CHARACTERS: usize = 200;

/// Characters that one character becomes at most in the form NFC.
/// <https://www.unicode.org/faq/normalization.html#12>
const MAX_NFC_GROWTH: usize = 3;

/// Characters that show nothing: Unicode's `Default_Ignorable_Code_Point`, and the blank Braille pattern.
/// <https://www.unicode.org/Public/17.0.0/ucd/DerivedCoreProperties.txt>
const INVISIBLE: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns the text in Unicode's form NFC. Text that has it already is not copied.
pub(crate) fn nfc(text: String) -> String {
    let has_form = text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes;
    if has_form { text } else { text.nfc().collect() }
}

/// Returns the name in Unicode's form NFC, so that equal names are equal text.
///
/// A few characters become longer in this form. A name that would not fit then stays as it is.
pub(crate) fn normalize(name: String) -> String {
    if name.chars().count() * MAX_NFC_GROWTH <= MAX_CHARACTERS {
        return nfc(name);
    }
    let normalized = nfc(name.clone());
    if fits(&normalized) { normalized } else { name }
}

/// Returns whether the name has at most 200 characters, no control characters, and is not white space alone.
pub(crate) fn fits(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= MAX_CHARACTERS && !name.contains(char::is_control)
}

/// Returns whether the name has a character that can be seen.
pub(crate) fn is_visible(name: &str) -> bool {
    let is_invisible = |c: char| INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c));
    name.chars().any(|c| !c.is_whitespace() && !c.is_control() && !is_invisible(c))
}

/// Returns whether each change of the text direction ends inside the name, so that it does not reverse the
/// text after the name.
///
/// An embedding or override ends with U+202C, an isolate with U+2069, which also ends the embeddings inside it.
/// <https://www.unicode.org/reports/tr9/#Explicit_Levels_and_Directions>
pub(crate) fn closes_directions(name: &str) -> bool {
    let mut open = Vec::new();
    for c in name.chars() {
        match c {
            '\u{202a}' | '\u{202b}' | '\u{202d}' | '\u{202e}' | '\u{2066}'..='\u{2068}' => open.push(c),
            '\u{202c}' if open.last().is_some_and(|last| !is_isolate(*last)) => {
                open.pop();
            }
            '\u{2069}' => {
                if let Some(isolate) = open.iter().rposition(|c| is_isolate(*c)) {
                    open.truncate(isolate);
                }
            }
            _ => {}
        }
    }
    open.is_empty()
}

fn is_isolate(c: char) -> bool {
    ('\u{2066}'..='\u{2068}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::{closes_directions, fits, is_visible, normalize};

    #[test]
    fn name_needs_visible_character() {
        for name in ["a", "王", "\u{200b}a", "👩‍👩‍👧", "محمد", "\u{0627}\u{200c}\u{0628}"] {
            assert!(is_visible(name), "{name:?}");
        }
        for name in
            ["\u{200b}\u{200b}", " \u{ad} ", "\u{3164}", "\u{202e}\u{202c}", "\u{2800}", "\u{e0041}", ""]
        {
            assert!(!is_visible(name), "{name:?}");
        }
    }

    #[test]
    fn changes_of_direction_must_close() {
        for name in
            ["abc", "a\u{202b}b\u{202c}c", "a\u{2067}b\u{2069}", "a\u{2067}\u{202e}b\u{2069}", "a\u{200f}"]
        {
            assert!(closes_directions(name), "{name:?}");
        }
        for name in ["abc\u{202e}def", "a\u{2066}b", "a\u{2067}b\u{202c}", "\u{202a}\u{2067}a\u{2069}"] {
            assert!(!closes_directions(name), "{name:?}");
        }
    }

    #[test]
    fn name_that_grows_beyond_limit_stays() {
        assert_eq!(normalize("e\u{301}".into()), "\u{e9}");
        // U+FB2C becomes three characters.
        assert_eq!(normalize("\u{fb2c}".into()).chars().count(), 3);
        let longest = "\u{fb2c}".repeat(200);
        assert!(fits(&longest));
        assert_eq!(normalize(longest.clone()), longest);
    }
}
