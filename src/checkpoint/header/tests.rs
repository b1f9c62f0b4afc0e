//! Headers as bytes: good, damaged and hostile.

use proptest::prelude::*;

use super::*;

fn file(json: &str, data_bytes: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.resize(file.len() + data_bytes, 0);
    file
}

fn parse_bytes(file: &[u8]) -> Result<Vec<StoredTensor>, CheckpointError> {
    parse(Path::new("m.safetensors"), file, file.len() as u64)
}

fn message(file: &[u8]) -> String {
    parse_bytes(file).unwrap_err().to_string()
}

#[test]
fn header_has_exactly_these_bytes() {
    let tensors = [
        ("a", TensorInfo { dtype: DType::F32, shape: vec![2, 3] }),
        ("b \"ü", TensorInfo { dtype: DType::BF16, shape: vec![] }),
    ];
    let header = encode(tensors.iter().map(|(name, info)| (*name, info)));
    let json = concat!(
        r#"{"__metadata__":{"format":"pt"},"#,
        r#""a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#,
        r#""b \"ü":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}}    "#,
    );
    assert_eq!(header[8..], *json.as_bytes());
    assert_eq!(header[..8], 152u64.to_le_bytes());
}

#[test]
fn tensors_come_in_the_order_of_their_data() {
    let json = r#"{"late":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},
        "empty":{"dtype":"U8","shape":[0,7],"data_offsets":[2,2]},
        "early":{"dtype":"I16","shape":[],"data_offsets":[0,2]}}"#;
    let tensors = parse_bytes(&file(json, 3)).unwrap();
    let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["early", "empty", "late"]);
    assert_eq!(tensors[2].bytes, json.len() as u64 + 10..json.len() as u64 + 11);
}

#[test]
fn broken_headers_are_described() {
    let one = |entry: &str| file(&format!(r#"{{"w":{entry}}}"#), 4);
    let cases = [
        (vec![1, 2, 3], "`m.safetensors` has 3 bytes, but its header needs 8"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "`m.safetensors` declares a header of 18446744073709551615 bytes; \
            the format allows 100000000",
        ),
        (100u64.to_le_bytes().to_vec(), "`m.safetensors` has 8 bytes, but its header needs 108"),
        (file("[]", 0), "`m.safetensors` has no valid safetensors header"),
        (file(&"[".repeat(10_000), 0), "`m.safetensors` has no valid safetensors header"),
        (
            one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#),
            "`m.safetensors` has no valid safetensors header",
        ),
        (
            one(r#"{"dtype":"F8_E4M3FNUZ","shape":[4],"data_offsets":[0,4]}"#),
            "`m.safetensors`: tensor `w` has element type `F8_E4M3FNUZ`, which is not supported",
        ),
        (
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#),
            "`m.safetensors`: tensor `w` of type float32 and shape [2] cannot have 4 bytes",
        ),
        (
            one(r#"{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}"#),
            "`m.safetensors`: tensor `w` of type float32 and shape [4611686018427387905] \
            cannot have 4 bytes",
        ),
        (
            one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#),
            "`m.safetensors`: the data of tensor `w` is at 4..0, but should start at 0",
        ),
        (
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#),
            "`m.safetensors` has 66 bytes, but its header describes 70",
        ),
        (
            one(r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#),
            "`m.safetensors` has 65 bytes, but its header describes 62",
        ),
        (
            file(
                r#"{"v":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},
                    "w":{"dtype":"F16","shape":[1],"data_offsets":[1,3]}}"#,
                3,
            ),
            "`m.safetensors`: the data of tensor `w` is at 1..3, but should start at 2",
        ),
        (
            file(
                r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                    "w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                2,
            ),
            "`m.safetensors` lists tensor `w` twice",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(message(&file), expected);
    }
}

/// JSON that is likely to be a header, with numbers likely to be wrong.
fn almost_header() -> impl Strategy<Value = String> {
    let number = || {
        prop_oneof![
            (0u64..12).prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            Just("-1".to_owned()),
            Just("1e30".to_owned()),
            Just("null".to_owned()),
        ]
    };
    let dtype = prop::sample::select(vec!["F32", "BF16", "U8", "BOOL", "F4", "I64", ""]);
    let name = prop::sample::select(vec!["a", "b", METADATA_KEY]);
    let entry = (name, dtype, prop::collection::vec(number(), 0..4), number(), number());
    let entry = entry.prop_map(|(name, dtype, shape, start, end)| {
        let shape = shape.join(",");
        format!(
            r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
        )
    });
    prop::collection::vec(entry, 0..4).prop_map(|entries| format!("{{{}}}", entries.join(",")))
}

/// Whatever parses lies within the file, without overlaps.
fn check(file: &[u8]) {
    let Ok(tensors) = parse_bytes(file) else { return };
    for pair in tensors.windows(2) {
        assert_eq!(pair[0].bytes.end, pair[1].bytes.start);
    }
    for tensor in &tensors {
        assert!(tensor.bytes.end <= file.len() as u64);
        assert_eq!(tensor.bytes.end - tensor.bytes.start, tensor.info.bytes() as u64);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_tensors_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn any_header_gives_tensors_or_an_error(json in almost_header(), data_bytes in 0usize..20) {
        check(&file(&json, data_bytes));
    }

    #[test]
    fn a_flipped_byte_gives_tensors_or_an_error(at in any::<prop::sample::Index>(), with: u8) {
        let info = TensorInfo { dtype: DType::F32, shape: vec![2, 3] };
        let mut file = encode([("a", &info), ("b", &info)].into_iter());
        file.resize(file.len() + 48, 0);
        let at = at.index(file.len());
        file[at] = with;
        check(&file);
    }
}
