use std::collections::BTreeSet;
use std::slice::from_ref;

use proptest::prelude::*;

use super::*;
use crate::transfer::holding::Manifest;

const MANIFEST: Manifest = Manifest {
    entries: FILES as u32,
    digest: [1; 32],
};
/// Over more than one word.
const FILES: usize = 70;
/// Only these are not settled in most tests.
const OPEN: usize = 5;
const GROUPS: u32 = 6;
const NOW: Stamp = Stamp([2; 16]);
const BEFORE: Stamp = Stamp([3; 16]);

/// What one has of a file.
#[derive(Debug, Clone)]
enum Has {
    Nothing,
    Part(Stamp, BTreeSet<u32>),
    Whole,
    /// It was declined, or could not be saved.
    Declined,
}

fn part(index: FileIndex, stamp: Stamp, groups: &BTreeSet<u32>) -> HeldPart {
    let each = groups.iter().map(|group| GroupRun {
        first: *group,
        count: 1,
    });
    let all = [GroupRun {
        first: 0,
        count: GROUPS,
    }];
    let rest = without(&all, &each.collect::<Vec<_>>());
    HeldPart {
        index,
        stamp,
        groups: GROUPS,
        runs: without(&all, &rest),
    }
}

/// All but the last files are there.
fn holding(files: &[Has]) -> Holding {
    let mut holding = Holding::default();
    holding.set_manifest(MANIFEST);
    let first = (FILES - files.len()) as FileIndex;
    (0..first).for_each(|index| holding.settle(index, true));
    let mut parts = Vec::new();
    for (index, has) in (first..).zip(files) {
        match has {
            Has::Nothing => {}
            Has::Part(stamp, groups) => parts.push(part(index, *stamp, groups)),
            Has::Whole => holding.settle(index, true),
            Has::Declined => holding.settle(index, false),
        }
    }
    holding.set_parts(parts.into_iter());
    holding
}

fn id(n: usize) -> TransferId {
    TransferId([n as u8; 16])
}

fn named(others: Vec<Holding>) -> Vec<(TransferId, Arc<Holding>)> {
    let numbers = others.into_iter().enumerate();
    numbers.map(|(n, other)| (id(n), Arc::new(other))).collect()
}

/// Who is chosen, by number.
fn chosen(child: &[Has], others: &[&[Has]], max: usize) -> Option<Vec<usize>> {
    let others: Vec<Holding> = others.iter().map(|other| holding(other)).collect();
    let chosen = choose(&holding(child), &named(others), max)?;
    Some(chosen.iter().map(|id| id.0[0] as usize).collect())
}

fn some(groups: &[u32]) -> Has {
    Has::Part(NOW, groups.iter().copied().collect())
}

#[test]
fn halves_make_a_whole_and_who_has_all_of_it_is_the_only_one() {
    use Has::{Declined, Nothing, Whole};
    let lacks = [Nothing, Nothing];
    let (first, second) = ([Whole, Nothing], [Nothing, Whole]);
    let all = [Whole, Whole];
    assert_eq!(chosen(&lacks, &[&first, &second], 8), Some(vec![0, 1]));
    assert_eq!(chosen(&lacks, &[&first, &second], 1), None);
    assert_eq!(chosen(&lacks, &[&first, &second, &all], 8), Some(vec![2]));
    assert_eq!(chosen(&lacks, &[&first, &first], 8), None);
    // What it does not want nobody need have.
    assert_eq!(chosen(&[Nothing, Declined], &[&first], 8), Some(vec![0]));
    assert_eq!(chosen(&lacks, &[&[Whole, Declined]], 8), None);
    assert_eq!(chosen(&all, &[], 8), Some(vec![]));
}

#[test]
fn groups_of_one_file_make_a_whole_with_those_that_are_there_already() {
    use Has::{Nothing, Whole};
    let (low, high) = (some(&[0, 1, 2]), some(&[3, 4, 5]));
    let others = [from_ref(&low), from_ref(&high)];
    assert_eq!(chosen(&[Nothing], &others, 8), Some(vec![0, 1]));
    assert_eq!(chosen(from_ref(&low), &others, 8), Some(vec![1]));
    assert_eq!(chosen(&[some(&[2, 3])], &others, 8), Some(vec![0, 1]));
    assert_eq!(chosen(&[Nothing], &[&[low], &[some(&[4, 5])]], 8), None);
    assert_eq!(chosen(&[Nothing], &[&[high], &[Whole]], 8), Some(vec![1]));
}

#[test]
fn a_little_of_an_old_version_does_not_hide_that_the_others_have_the_new_one() {
    let old = Has::Part(BEFORE, [3].into());
    let (low, high) = (some(&[0, 1, 2]), some(&[3, 4, 5]));
    let one = from_ref(&old);
    // However many have the same little of it.
    let others = [
        one,
        one,
        one,
        one,
        one,
        one,
        one,
        from_ref(&low),
        from_ref(&high),
    ];
    assert_eq!(chosen(&[Has::Nothing], &others, 8), Some(vec![7, 8]));
    // What the child has begun counts, whatever the others have.
    assert_eq!(chosen(from_ref(&old), &others, 8), None);
}

#[test]
fn versions_and_manifests_are_not_mixed() {
    let old = Has::Part(BEFORE, [3, 4, 5].into());
    let low = some(&[0, 1, 2]);
    assert_eq!(chosen(&[Has::Nothing], &[&[low], &[old]], 8), None);
    let mut other = holding(&[Has::Whole]);
    let child = holding(&[Has::Nothing]);
    assert!(is_covered(&child, &named(vec![other.clone()])));
    other.set_manifest(Manifest {
        digest: [9; 32],
        ..MANIFEST
    });
    assert!(!is_covered(&child, &named(vec![other.clone()])));
    assert!(!is_covered(&Holding::default(), &named(vec![other])));
}

fn has() -> impl Strategy<Value = Has> {
    let stamps = prop_oneof![9 => Just(NOW), 1 => Just(BEFORE)];
    let groups = prop::collection::btree_set(0..GROUPS, 0..=GROUPS as usize);
    prop_oneof![
        2 => Just(Has::Nothing),
        3 => (stamps, groups).prop_map(|(stamp, groups)| Has::Part(stamp, groups)),
        2 => Just(Has::Whole),
        1 => Just(Has::Declined),
    ]
}

/// Group by group: what `child` lacks of each file, and `others` have not in one version.
fn lacks(child: &[Has], others: &[&[Has]]) -> bool {
    let is_lacking = |at: usize, stamp: Stamp| {
        let is_there = |group: u32| {
            let mut all = others.iter().copied().chain([child]);
            all.any(|one| match &one[at] {
                Has::Part(of, groups) => *of == stamp && groups.contains(&group),
                Has::Whole => true,
                Has::Nothing | Has::Declined => false,
            })
        };
        !(0..GROUPS).all(is_there)
    };
    (0..OPEN).any(|at| match &child[at] {
        Has::Whole | Has::Declined => false,
        Has::Part(stamp, _) => is_lacking(at, *stamp),
        Has::Nothing => [NOW, BEFORE].iter().all(|stamp| is_lacking(at, *stamp)),
    })
}

/// Whether what there is of all files is of one version.
fn is_plain(all: &[&[Has]]) -> bool {
    let mut files = all.iter().flat_map(|files| files.iter());
    files.all(|has| !matches!(has, Has::Part(BEFORE, _)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn who_is_chosen_has_everything_and_if_nobody_is_nobody_has(
        child in prop::collection::vec(has(), OPEN),
        others in prop::collection::vec(prop::collection::vec(has(), OPEN), 0..7),
        max in 1..8usize,
    ) {
        let others: Vec<&[Has]> = others.iter().map(Vec::as_slice).collect();
        let found = chosen(&child, &others, max);
        let mut all = others.clone();
        all.push(&child);
        let alone = others.iter().any(|other| !lacks(&child, &[other]));
        match found {
            Some(found) => {
                prop_assert!(found.len() <= max);
                let distinct: BTreeSet<usize> = found.iter().copied().collect();
                prop_assert_eq!(distinct.len(), found.len());
                let heirs: Vec<&[Has]> = found.iter().map(|n| others[*n]).collect();
                prop_assert!(!lacks(&child, &heirs), "{:?}", found);
                let is_plain = is_plain(&all);
                prop_assert!(!is_plain || !alone || found.len() <= 1, "{:?}", found);
            }
            None if is_plain(&all) => {
                prop_assert!(!alone);
                prop_assert!(others.len() > max || lacks(&child, &others));
            }
            None => {}
        }
    }
}
