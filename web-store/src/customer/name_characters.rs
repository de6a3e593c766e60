//! Characters that make a name invisible, or reverse the text around it.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Returns whether a character is visible on its own.
///
/// Spaces, format characters, and marks without a letter are not. Unassigned characters may be letters of a later
/// version of Unicode.
pub(super) fn is_visible(character: char) -> bool {
    !is_blank(character)
        && !matches!(
            character.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::SpaceSeparator
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::NonspacingMark
                | GeneralCategory::EnclosingMark
        )
}

/// Returns whether a letter, a symbol, or an unassigned character is blank: fillers, the empty Braille pattern, and
/// the unassigned characters with the property `Default_Ignorable_Code_Point`.
fn is_blank(character: char) -> bool {
    matches!(
        character,
        '\u{115f}'
            | '\u{1160}'
            | '\u{2065}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1d159}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns whether every embedding, override, and isolate of the bidirectional algorithm (UAX #9) is closed, each
/// inside the ones around it, and no other is closed.
pub(super) fn isolates_direction(text: &str) -> bool {
    let mut open = Vec::new();
    for character in text.chars() {
        match character {
            // Embeddings and overrides end with U+202C, isolates with U+2069.
            '\u{202a}' | '\u{202b}' | '\u{202d}' | '\u{202e}' => open.push('\u{202c}'),
            '\u{2066}'..='\u{2068}' => open.push('\u{2069}'),
            '\u{202c}' | '\u{2069}' if open.pop() != Some(character) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{is_visible, isolates_direction};

    #[test]
    fn letter_digit_and_emoji_are_visible() {
        for character in ['a', 'é', '王', 'م', '1', '-', '🦀', '\u{93e}', '\u{e000}', '\u{323b0}'] {
            assert!(is_visible(character), "{character:?}");
        }
    }

    #[test]
    fn space_filler_and_format_character_are_invisible() {
        for character in [
            ' ',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2065}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff0}',
            '\u{e0001}',
            '\u{e0100}',
        ] {
            assert!(!is_visible(character), "{character:?}");
        }
    }

    #[test]
    fn direction_controls_must_be_closed_in_order() {
        for text in ["", "محمد", "\u{202b}محمد\u{202c}", "\u{2068}a\u{202d}b\u{202c}c\u{2069}", "a\u{200f}"]
        {
            assert!(isolates_direction(text), "{text:?}");
        }
        for text in [
            "a\u{202a}",
            "a\u{202b}",
            "a\u{202d}",
            "abc\u{202e}def",
            "a\u{2066}",
            "a\u{2067}",
            "a\u{2068}",
            "a\u{202c}",
            "a\u{2069}",
            "\u{2067}a\u{202c}",
            "\u{202e}a\u{2069}",
            "\u{202e}\u{2067}a\u{202c}\u{2069}",
        ] {
            assert!(!isolates_direction(text), "{text:?}");
        }
    }
}
