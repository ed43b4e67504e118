//! The parsers of untrusted input on the corpus of the fuzz targets and on mutations of it. `cargo fuzz` searches for
//! longer, with the coverage as its guide.

#[path = "../../fuzz/parsers.rs"]
mod parsers;

use std::path::Path;

/// Mutations of a corpus.
const MUTATIONS: u64 = 20_000;

/// Runs a target on each input of its corpus and on mutations, which are the same in each run.
fn try_all(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty());
    let attempt = |input: &[u8]| {
        let tried = std::panic::catch_unwind(|| target(input));
        assert!(tried.is_ok(), "{name}: {:?}", String::from_utf8_lossy(input));
    };
    corpus.iter().for_each(|input| attempt(input));
    for seed in 0..MUTATIONS {
        attempt(&mutation(&corpus, &mut fastrand::Rng::with_seed(seed)));
    }
}

/// An input of the corpus after a few changes.
fn mutation(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = random.choice(corpus).unwrap().clone();
    for _ in 0..random.usize(1..5) {
        let place = random.usize(0..=input.len());
        let end = random.usize(place..=input.len());
        match random.u8(0..6) {
            0 => drop(input.drain(place..end.min(place + 8))),
            1 => input.insert(place, random.u8(..)),
            2 => input.insert(place, *random.choice(b"&=;:%/@?#[]\"{}, \n\r\0\xff-+0129").unwrap()),
            3 if place < input.len() => input[place] = random.u8(..),
            4 => {
                let repeated = input[place..end].repeat(random.usize(1..40));
                input.splice(place..place, repeated);
            }
            _ => {
                let other = random.choice(corpus).unwrap();
                input.splice(place..end, other[random.usize(0..=other.len())..].iter().copied());
            }
        }
    }
    input
}

#[test]
fn forms() {
    try_all("form", parsers::form);
}

#[test]
fn cookies() {
    try_all("cookie", parsers::cookie);
}

#[test]
fn backups() {
    try_all("backup", parsers::backup);
}

#[test]
fn store_urls() {
    try_all("store_url", parsers::store_url);
}

#[test]
fn request_headers() {
    try_all("headers", parsers::headers);
}

#[test]
fn lists_of_faults() {
    try_all("faults", parsers::faults);
}
