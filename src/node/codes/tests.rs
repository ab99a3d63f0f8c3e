//! What the node keeps of codes.

use super::*;

const NUMBER: u16 = 7;
const REACH: CodeReach = CodeReach::Anywhere;

fn id(n: u8) -> TransferId {
    TransferId([n; 16])
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

/// A book with one code.
fn one() -> (CodeBook, OneTimeCode) {
    let mut book = CodeBook::default();
    book.begin(id(1), vec!["/srv/film".into()]).unwrap();
    assert_eq!(book.snapshots()[0].code, None, "it has no number yet");
    assert_eq!(book.numbered(id(1), NUMBER, REACH), Ok(true));
    let code = now(&book);
    (book, code)
}

fn now(book: &CodeBook) -> OneTimeCode {
    let (found, code) = book.with_number(NUMBER).unwrap();
    assert_eq!(found, id(1));
    code
}

fn ended(trouble: CodeTrouble) -> CodeState {
    CodeState::Ended(Fault::Code { trouble })
}

#[tokio::test(start_paused = true)]
async fn a_code_is_over_after_its_time() {
    let (mut book, code) = one();
    assert_eq!(book.snapshots()[0].code, Some(code.to_string()));
    assert_eq!(book.snapshots()[0].names, ["film"]);
    let until = Instant::now() + CODE_LIFETIME;
    assert!(book.end_late().is_empty());
    assert!(matches!(book.news().await, CodeNews::Late));
    assert!(Instant::now() >= until);
    assert_eq!(book.end_late(), [NUMBER]);
    assert_eq!(book.with_number(NUMBER), None);
    assert_eq!(book.snapshots()[0].state, ended(CodeTrouble::Late));
    assert_eq!(book.snapshots()[0].code, None);
    assert_eq!(book.guessed(id(1), &code, true), Guessed::Stale);
    assert!(book.is_idle());
}

#[tokio::test]
async fn the_right_guess_counts_once() {
    let (mut book, code) = one();
    let right = Guessed::Right { number: NUMBER };
    assert_eq!(book.guessed(id(1), &code, true), right);
    assert!(!book.is_idle(), "it is about to be sent");
    assert_eq!(book.guessed(id(1), &code, true), Guessed::Stale);
    assert_eq!(book.snapshots()[0].state, CodeState::Used);
    assert_eq!(book.take_used(id(1)), Some(vec!["/srv/film".into()]));
    assert_eq!(book.take_used(id(1)), None);
    assert!(book.is_idle());
}

#[tokio::test]
async fn a_wrong_guess_changes_the_code_and_too_many_end_it() {
    let (mut book, first) = one();
    let mut code = first.clone();
    for wrong in 1..GUESSES_MAX {
        let guessed = book.guessed(id(1), &code, false);
        assert_eq!(guessed, Guessed::Wrong { freed: None });
        assert_eq!(book.snapshots()[0].wrong, wrong);
        // Whoever began before that has guessed another code, right or not.
        assert_eq!(book.guessed(id(1), &code, true), Guessed::Stale);
        code = now(&book);
    }
    let guessed = book.guessed(id(1), &code, false);
    let freed = Some(NUMBER);
    assert_eq!(guessed, Guessed::Wrong { freed });
    assert_eq!(book.with_number(NUMBER), None);
    assert_eq!(book.snapshots()[0].state, ended(CodeTrouble::Guessed));
}

#[tokio::test]
async fn there_are_not_any_number_of_codes() {
    let mut book = CodeBook::default();
    for n in 0..CODES_MAX as u8 {
        book.begin(id(n), Vec::new()).unwrap();
    }
    assert!(book.begin(id(99), Vec::new()).is_err());
    // One that is not wanted any more by the time it has its number.
    let cancelled = CodeState::Ended(Fault::Cancelled);
    assert_eq!(book.end(id(0), cancelled), None);
    assert_eq!(book.numbered(id(0), NUMBER, REACH), Ok(false));
}

#[tokio::test(start_paused = true)]
async fn what_was_agreed_on_is_that_transfer_of_that_peer_once_and_not_for_ever() {
    let mut book = CodeBook::default();
    book.agree(peer(1), id(1), None);
    assert!(book.has_agreed(peer(1), id(1)));
    for (who, what) in [(2, 1), (1, 2)] {
        assert!(!book.has_agreed(peer(who), id(what)));
        assert_eq!(book.take_agreed(peer(who), id(what)), None);
    }
    assert_eq!(book.take_agreed(peer(1), id(1)), Some(None));
    assert_eq!(book.take_agreed(peer(1), id(1)), None);
    book.agree(peer(1), id(1), None);
    tokio::time::advance(AGREED_FOR).await;
    assert!(!book.has_agreed(peer(1), id(1)));
    assert_eq!(book.take_agreed(peer(1), id(1)), None);
}

#[tokio::test]
async fn two_codes_never_have_one_number() {
    let (mut book, code) = one();
    book.begin(id(2), Vec::new()).unwrap();
    assert!(book.numbered(id(2), NUMBER, REACH).is_err());
    assert_eq!(now(&book), code, "the first stays as it is");
    assert_eq!(book.numbered(id(2), NUMBER + 1, REACH), Ok(true));
    assert_eq!(book.numbers(), HashSet::from([NUMBER, NUMBER + 1]));
}

#[tokio::test]
async fn what_was_used_can_be_taken_back_until_it_has_begun() {
    let (mut book, code) = one();
    book.guessed(id(1), &code, true);
    assert!(book.take_back(id(1)));
    assert_eq!(book.take_used(id(1)), None);
    let cancelled = CodeState::Ended(Fault::Cancelled);
    assert_eq!(book.snapshots()[0].state, cancelled);
    assert!(!book.take_back(id(1)));
}

#[tokio::test]
async fn what_was_agreed_on_can_be_withdrawn_and_has_a_bound() {
    let mut book = CodeBook::default();
    for n in 0..AGREED_MAX as u8 {
        assert!(book.agree(peer(1), id(n), None));
    }
    assert!(!book.agree(peer(1), id(99), None));
    assert!(!book.has_agreed(peer(1), id(99)));
    assert!(book.withdraw(id(0)));
    assert!(!book.has_agreed(peer(1), id(0)));
    assert!(!book.withdraw(id(0)));
    assert!(book.agree(peer(1), id(99), None));
}
