//! libFuzzer around the targets of `tests/it/fuzz/targets.rs`, and the way between its folders of
//! inputs and the text files that are committed. `fuzz/run` is how it is used.

#![no_main]

#[path = "../../tests/it/fuzz/targets.rs"]
mod targets;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target, inputs};

/// `FUZZ_TARGET` names it.
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        panic!("FUZZ_TARGET={name:?} is none of {:?}", TARGETS.map(|it| it.name))
    })
});

fuzz_target!(
    init: {
        // Before the first input: from text to files, or back.
        if let Some(place) = std::env::var_os("FUZZ_UNPACK") {
            unpack(Path::new(&place));
            std::process::exit(0);
        }
        if let Some(place) = std::env::var_os("FUZZ_PACK") {
            pack(Path::new(&place));
            std::process::exit(0);
        }
    },
    |input: &[u8]| {
        if input.len() <= TARGET.length_max {
            (TARGET.eat)(input);
        }
    }
);

fn unpack(place: &Path) {
    for (number, input) in inputs(*TARGET).into_iter().enumerate() {
        std::fs::write(place.join(format!("committed-{number}")), input).expect("a file");
    }
}

/// Prints what is in a folder and not committed yet, as lines of a corpus.
fn pack(place: &Path) {
    let known = inputs(*TARGET);
    let files = std::fs::read_dir(place).expect("a folder").flatten();
    let mut lines: Vec<String> = files
        .map(|file| std::fs::read(file.path()).expect("a file"))
        .filter(|input| !known.contains(input))
        .map(|input| escaped(&input))
        .collect();
    lines.sort_by_key(|line| (line.len(), line.clone()));
    for line in lines {
        println!("{line}");
    }
}

/// As `unescaped` reads it; words that stand for something keep their meaning.
fn escaped(input: &[u8]) -> String {
    let mut line = String::new();
    for (at, byte) in input.iter().enumerate() {
        let plain = (0x20..=0x7e).contains(byte) && !(at == 0 && *byte == b'#');
        let literal = *byte == b'\\' && input.get(at + 1) == Some(&b'x');
        match plain && !literal {
            true => line.push(char::from(*byte)),
            false => write!(line, "\\x{byte:02x}").expect("a String takes everything"),
        }
    }
    let ids = line.replace(targets::USER, "USER").replace(targets::SALE, "SALE");
    ids.replace(&targets::good(), "GOOD")
}
