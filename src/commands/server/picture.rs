//! The picture of `LOLWUT`: a coterie.
//!
//! A coterie is a family of sets any two of which intersect. The most even ones are the projective planes: as
//! many sets as elements, all of one size, and any two have exactly one element in common. Each row of the
//! picture is a set, each column an element. A plane is made of one set and its rotations, when the
//! differences of that set's elements are all different (a perfect difference set: J. Singer, "A theorem in
//! finite projective geometry and some applications to number theory", 1938).

/// Perfect difference sets, and the number of elements they rotate in.
const SETS: [(usize, &[usize]); 4] = [
    (7, &[0, 1, 3]),
    (13, &[0, 1, 3, 9]),
    (21, &[0, 1, 4, 14, 16]),
    (31, &[0, 1, 3, 8, 12, 18]),
];

/// Draws a family; the version chooses which, otherwise chance does.
pub fn families(version: Option<i64>) -> String {
    let index = match version {
        Some(version) => version.rem_euclid(SETS.len() as i64) as usize,
        None => rand::random_range(0..SETS.len()),
    };
    let (elements, set) = SETS[index];
    let start = rand::random_range(0..elements);
    let mut text = String::new();
    for row in 0..elements {
        for column in 0..elements {
            let element = (column + start + row) % elements;
            text.push_str(if set.contains(&element) {
                "● "
            } else {
                "· "
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push_str(&format!(
        "\n{elements} sets of {} of {elements}: any two meet in exactly one. ",
        set.len()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_sets_meet_once() {
        for version in 0..SETS.len() as i64 {
            let text = families(Some(version));
            let rows: Vec<Vec<bool>> = text
                .lines()
                .take_while(|line| !line.is_empty())
                .map(|line| line.split(' ').map(|cell| cell == "●").collect())
                .collect();
            assert_eq!(rows.len(), SETS[version as usize].0);
            for (index, one) in rows.iter().enumerate() {
                for other in &rows[..index] {
                    let common = one.iter().zip(other).filter(|(a, b)| **a && **b).count();
                    assert_eq!(common, 1);
                }
            }
        }
    }
}
