//! "Did you mean": the nearest of the names that there are.
//!
//! The same measure as that of the workers' parameters (`shm_schema::manifest::did_you_mean`, which has no crate under it
//! because it is in every process), and words besides: `Bluur` is near to `GaussianBlur`.

use strsim::osa_distance;

/// Letters that are compared; names of ours are shorter, and a stranger's long one costs no more.
const MOST: usize = 64;
/// Names that are listed where none is near (chosen: what a person still reads).
const LISTED: usize = 40;
/// Letters that a word must have to be compared on its own (chosen: shorter ones are near to everything).
const WORD: usize = 3;

/// What to say behind "unknown": the nearest name where one is near, else those that there are; nothing where there are none.
pub(crate) fn did_you_mean(name: &str, known: &[&str]) -> Option<String> {
    match nearest(name, known) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => {
            let all: Vec<String> = known.iter().take(LISTED).map(|k| format!("`{k}`")).collect();
            let more = if known.len() > LISTED { " and more" } else { "" };
            Some(format!("known are {}{more}", all.join(", ")))
        }
    }
}

/// The nearest name, if one is near: as a whole, else by one of its words.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let typed = lower(name);
    let whole = known.iter().filter_map(|k| Some((near(&typed, &lower(k))?, *k)));
    if let Some((_, k)) = whole.min_by_key(|(distance, _)| *distance) {
        return Some(k);
    }
    if typed.chars().count() < WORD {
        return None;
    }
    let by_word = known.iter().filter_map(|k| {
        let words = words(k).into_iter().filter(|word| word.chars().count() >= WORD);
        Some((words.filter_map(|word| near(&typed, &word)).min()?, *k))
    });
    by_word.min_by_key(|(distance, _)| *distance).map(|(_, k)| k)
}

/// How far they are apart where that is near: one letter in three may be wrong, and one in the shortest names, but not all.
/// A swap of neighbours counts once: it is the commonest slip.
fn near(typed: &str, known: &str) -> Option<usize> {
    let letters = known.chars().count();
    let most = (letters / 3).max(1);
    // As many letters as one has more must be wrong; there are names enough for this to matter.
    if typed.chars().count().abs_diff(letters) > most {
        return None;
    }
    let distance = osa_distance(typed, known);
    (distance <= most && distance < letters).then_some(distance)
}

fn lower(name: &str) -> String {
    name.chars().take(MOST).flat_map(char::to_lowercase).collect()
}

/// `GaussianBlur` and `gaussian_blur` are `gaussian` and `blur`.
fn words(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut after_small = false;
    for c in name.chars().take(MOST) {
        let gap = matches!(c, '_' | '-' | '.' | ' ');
        if gap || (c.is_uppercase() && after_small) {
            all.push(String::new());
        }
        if !gap && let Some(word) = all.last_mut() {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase() || c.is_ascii_digit();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_whatever_its_case_and_a_far_one_gets_the_list() {
        let known = ["GaussianBlur", "Gain"];
        assert_eq!(nearest("gausianblur", &known), Some("GaussianBlur"));
        assert_eq!(nearest("gian", &known), Some("Gain"));
        assert_eq!(
            did_you_mean("Reverb", &known).as_deref(),
            Some("known are `GaussianBlur`, `Gain`")
        );
        assert_eq!(did_you_mean("x", &[]), None);
        assert_eq!(did_you_mean("c", &["a", "b"]).as_deref(), Some("known are `a`, `b`"));
    }

    #[test]
    fn a_name_is_near_by_one_of_its_words() {
        assert_eq!(nearest("Bluur", &["Gain", "GaussianBlur"]), Some("GaussianBlur"));
        assert_eq!(
            nearest("suppression", &["NoiseGate", "noise_suppression"]),
            Some("noise_suppression")
        );
        assert_eq!(nearest("x", &["a-x"]), None);
    }

    #[test]
    fn a_strangers_long_name_is_compared_by_its_beginning() {
        let known = ["Gain"];
        assert_eq!(nearest(&"x".repeat(1_000_000), &known), None);
    }
}
