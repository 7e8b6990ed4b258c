//! "Did you mean": the nearest of the known names, by edit distance.

/// Letters that are compared; names of ours are shorter, and a stranger's long one costs no more.
const MOST: usize = 64;

/// What follows an "unknown name" error: the nearest known name where one is near, else all that are known.
///
/// Begins with `;` or is empty, so that it can be appended as it is.
#[must_use]
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    let typed: Vec<char> = name.chars().take(MOST).flat_map(char::to_lowercase).collect();
    let nearest = known
        .iter()
        .map(|k| {
            let letters: Vec<char> = k.chars().take(MOST).flat_map(char::to_lowercase).collect();
            (distance(&typed, &letters), letters.len(), *k)
        })
        // One letter in three may be wrong, and one in the shortest names.
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, ..)| *distance);
    match nearest {
        Some((_, _, k)) => format!("; did you mean `{k}`?"),
        None if known.is_empty() => String::new(),
        None => {
            let all: Vec<String> = known.iter().take(40).map(|k| format!("`{k}`")).collect();
            format!("; known are {}", all.join(", "))
        }
    }
}

/// Levenshtein's distance, a swap of neighbours counted once: it is the commonest slip.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row: Vec<usize> = Vec::with_capacity(width);
        let mut left = i + 1;
        row.push(left);
        for (j, y) in b.iter().enumerate() {
            let (up, diagonal) = (at(&above, j + 1), at(&above, j));
            let mut cost = (diagonal + usize::from(x != y)).min(up + 1).min(left + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped && x != y {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
            left = cost;
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

fn at(row: &[usize], index: usize) -> usize {
    row.get(index).copied().unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(a: &str, b: &str) -> usize {
        distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn a_slip_of_the_finger_is_one_step() {
        assert_eq!(between("blur", "blur"), 0);
        assert_eq!(between("blru", "blur"), 1);
        assert_eq!(between("blurr", "blur"), 1);
        assert_eq!(between("", "blur"), 4);
        assert_eq!(between("blur", ""), 4);
        assert_eq!(between("gain", "overlay"), 7);
    }

    #[test]
    fn a_near_name_is_suggested_whatever_its_case_and_a_far_one_gets_the_list() {
        let known = ["GaussianBlur", "Gain"];
        assert_eq!(did_you_mean("gausianblur", &known), "; did you mean `GaussianBlur`?");
        assert_eq!(did_you_mean("gian", &known), "; did you mean `Gain`?");
        assert_eq!(did_you_mean("Reverb", &known), "; known are `GaussianBlur`, `Gain`");
        assert_eq!(did_you_mean("x", &[]), "");
    }
}
