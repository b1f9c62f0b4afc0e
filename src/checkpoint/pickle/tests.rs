//! Pickles as programs: sound, damaged and hostile. Files of PyTorch are in `tests/pickles.rs`.

use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

use super::machine::MAX_STEPS;
use super::*;

/// The value of a program, and what the machine knows then.
fn run<T>(
    program: &[u8],
    check: impl FnOnce(&Machine<'_>, Result<Value, CheckpointError>) -> T,
) -> T {
    let file = file(program);
    let stream = Stream::new(Path::new("m.bin"), &file, 0..program.len() as u64);
    let mut machine = Machine::new(stream);
    let result = machine.run();
    check(&machine, result)
}

fn file(bytes: &[u8]) -> PositionedFile {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    PositionedFile::new(file)
}

fn message(program: &[u8]) -> String {
    run(program, |_, result| result.unwrap_err().to_string())
}

#[test]
fn whole_numbers_are_read_in_every_notation() {
    let cases: [(&[u8], i64); 12] = [
        (b"K\xff.", 255),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x02\xff\x00.", 255),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", i64::MIN),
        (b"\x8b\x02\x00\x00\x00\x00\x01.", 256),
        (b"I17\n.", 17),
        (b"I01\n.", 1),
        (b"L-3L\n.", -3),
        (b"L3\n.", 3),
    ];
    for (program, expected) in cases {
        let value = run(program, |_, result| result.unwrap());
        assert_eq!(value, Value::Int(expected), "{}", program.escape_ascii());
    }
    for program in [&b"\x8a\x09123456789."[..], b"L99999999999999999999L\n.", b"Ix\n."] {
        assert_eq!(run(program, |_, result| result.unwrap()), Value::Opaque);
    }
}

#[test]
fn text_is_read_in_every_notation() {
    let programs: [&[u8]; 7] = [
        b"X\x03\x00\x00\x00abc.",
        b"T\x03\x00\x00\x00abc.",
        b"U\x03abc.",
        b"\x8c\x03abc.",
        b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00abc.",
        b"Vabc\n.",
        b"S'abc'\n.",
    ];
    for program in programs {
        run(program, |machine, result| {
            let Value::Text(text) = result.unwrap() else { panic!() };
            assert_eq!(machine.text(text), b"abc", "{}", program.escape_ascii());
        });
    }
}

#[test]
fn containers_that_share_and_contain_themselves_are_kept() {
    // A list that holds itself and one tuple twice.
    run(b"]q\x00(h\x00K\x01\x85q\x01h\x01e.", |machine, result| {
        assert_eq!(result.unwrap(), Value::List(0));
        let tuple = Value::Tuple(1);
        assert_eq!(machine.values.sequences[0], [Value::List(0), tuple, tuple]);
        assert_eq!(machine.values.sequences[1], [Value::Int(1)]);
    });
}

#[test]
fn dictionaries_are_made_in_every_way() {
    let programs: [&[u8]; 5] = [
        b"}U\x01aK\x01s.",
        b"}(U\x01aK\x01u.",
        b"(U\x01aK\x01d.",
        b"ccollections\nOrderedDict\n)RU\x01aK\x01s}b.",
        b"ccollections\nOrderedDict\n(](]U\x01aaK\x01aetR.",
    ];
    for program in programs {
        run(program, |machine, result| {
            let Value::Dict(dict) = result.unwrap() else { panic!() };
            let [(Value::Text(key), Value::Int(1))] = machine.values.dicts[dict as usize][..]
            else {
                panic!("{}", program.escape_ascii())
            };
            assert_eq!(machine.text(key), b"a");
        });
    }
}

#[test]
fn programs_that_do_anything_else_are_refused_by_name() {
    let cases: [(&[u8], &str); 8] = [
        (b"cos\nsystem\n.", "asks for `os.system` at byte 0, which is refused"),
        (b"N\x8c\x02os\x8c\x06system\x93.", "asks for `os.system` at byte 13, which is refused"),
        (b"ctorch\nload\n.", "asks for `torch.load` at byte 0, which is refused"),
        (b"ctorch\nWeirdStorage\n.", "asks for `torch.WeirdStorage` at byte 0, which is refused"),
        (b"ca\x1b[2J\nb\n.", "asks for `a\\u{1b}[2J.b` at byte 0, which is refused"),
        (b"(o.", "has the opcode `OBJ` at byte 1, which is refused"),
        (b"P0\n.", "has the opcode `PERSID` at byte 0, which is refused"),
        (b"\x97.", "has the opcode `NEXT_BUFFER` at byte 0, which is refused"),
    ];
    for (program, expected) in cases {
        assert_eq!(message(program), format!("`m.bin`: the pickle {expected}"));
    }
    let long = [b"c", "ä".repeat(10_000).as_bytes(), b"\nb\n."].concat();
    assert!(message(&long).len() < 300);
}

#[test]
fn memory_is_bounded_whatever_a_program_does() {
    let too_large = "`m.bin`: the pickle is larger than that of any model";
    for opcode in [b"N", b"]", b"(", b"}", b")"] {
        assert_eq!(message(&opcode.repeat(MAX_STEPS + 1)), too_large);
    }
    // A list of 60 000 pairs, copied into one dictionary after another.
    let mut program = b"ccollections\nOrderedDict\nq\x00](".to_vec();
    program.extend_from_slice(&b"K\x01K\x01\x86".repeat(60_000));
    program.extend_from_slice(b"e\x85q\x01");
    program.extend_from_slice(&b"h\x00h\x01R".repeat(100));
    program.push(b'.');
    assert_eq!(message(&program), too_large);
    // Memo numbers that claim gigabytes.
    assert!(message(b"Nr\xff\xff\xff\xff.").contains("numbers a value far too high"));
    assert!(message(b"Np18446744073709551615\n.").contains("numbers a value far too high"));
    // Text that claims exabytes.
    assert!(message(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.").contains("ends too early"));
}

/// A file of the oldest kind, in which a storage is a part of another.
#[test]
fn storages_that_are_parts_of_others_are_found() {
    let tensor = |name: &str, view: &[u8]| {
        [
            format!("U\x01{name}ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\n").as_bytes(),
            b"ShortStorage\nU\x01kU\x03cpuK\x06",
            view,
            b"tQK\x01K\x02\x85K\x01\x85tR",
        ]
        .concat()
    };
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}(");
    bytes.extend_from_slice(&tensor("b", b"(U\x01vK\x02K\x04t"));
    bytes.extend_from_slice(&tensor("a", b"N"));
    bytes.extend_from_slice(b"u.\x80\x02]U\x01ka.\x06\0\0\0\0\0\0\0");
    let start = bytes.len() as u64;
    bytes.extend(0..12);
    let parsed = |bytes: &[u8]| parse(Path::new("m.bin"), &file(bytes), bytes.len() as u64);
    let tensors = parsed(&bytes).unwrap();
    assert_eq!(tensors.len(), 2);
    assert_eq!((tensors[0].name.as_str(), &tensors[0].bytes), ("a", &(start + 2..start + 6)));
    assert_eq!((tensors[1].name.as_str(), &tensors[1].bytes), ("b", &(start + 6..start + 10)));

    bytes.pop();
    let error = parsed(&bytes).unwrap_err();
    assert!(matches!(error, CheckpointError::FileLength { .. }), "{error}");
}

#[test]
fn sizes_beyond_32_bits_are_read_from_their_own_field() {
    let zip64 = |kind: u16, field: &[u64]| {
        let mut extra = kind.to_le_bytes().to_vec();
        extra.extend_from_slice(&(8 * field.len() as u16).to_le_bytes());
        extra.extend(field.iter().flat_map(|value| value.to_le_bytes()));
        extra
    };
    // An entry whose three sizes are all in the ZIP64 field, behind a field of another kind.
    let program = b"\x80\x02}.";
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.resize(26, 0);
    bytes.extend_from_slice(&10u16.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes());
    bytes.extend_from_slice(b"a/data.pkl");
    bytes.extend_from_slice(program);

    let directory = bytes.len() as u64;
    let n = program.len() as u64;
    let extra = [zip64(7, &[9]), zip64(1, &[n, n, 0])].concat();
    let mut entry = b"PK\x01\x02".to_vec();
    entry.resize(20, 0);
    entry.extend_from_slice(&[0xff; 8]);
    entry.extend_from_slice(&10u16.to_le_bytes());
    entry.extend_from_slice(&(extra.len() as u16).to_le_bytes());
    entry.resize(42, 0);
    entry.extend_from_slice(&[0xff; 4]);
    entry.extend_from_slice(b"a/data.pkl");
    entry.extend_from_slice(&extra);
    bytes.extend_from_slice(&entry);

    let end = bytes.len() as u64;
    let mut record = b"PK\x06\x06".to_vec();
    record.resize(40, 0);
    record.extend_from_slice(&(entry.len() as u64).to_le_bytes());
    record.extend_from_slice(&directory.to_le_bytes());
    bytes.extend_from_slice(&record);
    bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    bytes.extend_from_slice(&end.to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&[0xff; 12]);
    bytes.extend_from_slice(&[0, 0]);

    let tensors = parse(Path::new("m.bin"), &file(&bytes), bytes.len() as u64).unwrap();
    assert!(tensors.is_empty());
}

/// Opcodes and pieces of programs that are likely to fit together.
fn almost_program() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"(", b")", b"]", b"}", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"0", b"1",
        b"2", b"R", b"b", b"Q", b"N", b"\x88", b"l", b"d", b"\x94", b"q\x00", b"q\x01", b"h\x00",
        b"h\x01", b"K\x00", b"K\x01", b"K\x03", b"J\xff\xff\xff\xff", b"U\x01k", b"U\x07storage",
        b"U\x0astate_dict", b"ctorch\nFloatStorage\n", b"ctorch.storage\nUntypedStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n",
        b"ctorch._utils\n_rebuild_parameter\n", b"ccollections\nOrderedDict\n", b"ctorch\nint8\n",
        b"(U\x07storagectorch\nFloatStorage\nU\x01kU\x03cpuK\x04tQ",
        b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nHalfStorage\nU\x01kNK\x04tQK\x01K\x02\x85K\x01\x85\x89NtR",
        b".",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..60).prop_map(|pieces| pieces.concat())
}

/// Whatever is placed lies within the file and its data.
fn check(program: &[u8]) {
    const BYTES: u64 = 1000;
    let data = 100..108;
    run(program, |machine, result| {
        let Ok(saved) = result else { return };
        let places = Places { path: Path::new("m.bin"), bytes: BYTES, machine };
        let find = |key: &[u8]| Ok((key == b"k").then(|| data.clone()));
        let Ok(tensors) = places.tensors(saved, find) else { return };
        for tensor in tensors {
            assert!(data.start <= tensor.bytes.start && tensor.bytes.end <= data.end);
            assert!(tensor.info.checked_bytes().unwrap() as u64 <= BYTES);
            if tensor.strides.is_none() {
                let bytes = tensor.bytes.end - tensor.bytes.start;
                assert_eq!(bytes, tensor.info.bytes() as u64);
            }
        }
    });
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn any_program_gives_a_value_or_an_error(program in almost_program()) {
        check(&program);
    }

    #[test]
    fn any_tensor_lies_in_its_data_or_is_refused(
        offset in 0u8..6,
        axes in prop::collection::vec((0u8..4, 0u8..4), 0..4),
    ) {
        let sizes = |pick: fn(&(u8, u8)) -> u8| {
            let sizes = axes.iter().flat_map(|axis| [b'K', pick(axis)]);
            [b"(".to_vec(), sizes.collect(), b"t".to_vec()].concat()
        };
        let program = [
            b"}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nHalfStorage\nU\x01kNK\x04tQK",
            &[offset][..],
            &sizes(|axis| axis.0),
            &sizes(|axis| axis.1),
            b"\x89NtRs.",
        ]
        .concat();
        check(&program);
    }
}
