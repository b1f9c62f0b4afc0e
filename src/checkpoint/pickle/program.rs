//! The pickle of a dictionary of tensors: the calls of `torch.save`, each tensor on a storage of its own.
//!
//! Protocol 2 without a memo, which only saves some bytes. Readers that load weights alone take every
//! opcode in it.

use super::values::storage_class;
use crate::checkpoint::TensorInfo;

/// The program that makes a dictionary of `tensors`, whose data are the storages `0`, `1`, and so on.
pub(super) fn encode(tensors: &[(&str, &TensorInfo)]) -> Vec<u8> {
    let mut program = Program(Vec::new());
    // Protocol, dictionary, mark of its entries.
    program.opcodes(b"\x80\x02}(");
    for (index, (name, info)) in tensors.iter().enumerate() {
        program.text(name);
        program.tensor(index, info);
    }
    // Set the entries, stop.
    program.opcodes(b"u.");
    program.0
}

struct Program(Vec<u8>);

impl Program {
    fn opcodes(&mut self, opcodes: &[u8]) {
        self.0.extend(opcodes);
    }

    /// A call that rebuilds the tensor: storage, offset, shape, strides, whether it has a gradient, no
    /// hooks, and the type where its storage does not have it.
    fn tensor(&mut self, storage: usize, info: &TensorInfo) {
        let class = storage_class(info.dtype);
        let rebuild = if class.is_some() { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" };
        self.name("torch._utils", rebuild);
        self.tuple(|program| {
            program.storage(storage, info, class);
            program.number(0);
            program.tuple(|program| info.shape.iter().for_each(|&size| program.number(size)));
            program.tuple(|program| strides(&info.shape).iter().for_each(|&n| program.number(n)));
            // False
            program.opcodes(b"\x89");
            program.name("collections", "OrderedDict");
            // Called with nothing.
            program.opcodes(b")R");
            if class.is_none() {
                program.name("torch", &info.dtype.to_string());
            }
        });
        self.opcodes(b"R");
    }

    /// The storage by its persistent id. Without a `class` it is one of bytes.
    fn storage(&mut self, key: usize, info: &TensorInfo, class: Option<&str>) {
        self.tuple(|program| {
            program.text("storage");
            match class {
                Some(class) => program.name("torch", &format!("{class}Storage")),
                None => program.name("torch.storage", "UntypedStorage"),
            }
            program.text(&key.to_string());
            program.text("cpu");
            program.number(if class.is_some() { info.elements() } else { info.bytes() });
        });
        self.opcodes(b"Q");
    }

    fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.opcodes(b"(");
        items(self);
        self.opcodes(b"t");
    }

    fn text(&mut self, text: &str) {
        self.opcodes(b"X");
        // Names of tensors come from headers, which are shorter than 4 GiB.
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// A function or class by its name.
    fn name(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    fn number(&mut self, value: usize) {
        match (u8::try_from(value), i32::try_from(value)) {
            (Ok(byte), _) => self.0.extend([b'K', byte]),
            (_, Ok(short)) => {
                self.opcodes(b"J");
                self.0.extend(short.to_le_bytes());
            }
            // Sizes fit into 63 bits, so that the sign bit is free.
            _ => {
                self.opcodes(b"\x8a\x08");
                self.0.extend((value as u64).to_le_bytes());
            }
        }
    }
}

/// Elements from one entry of each axis to the next, in row-major order without gaps.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut next = 1;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let stride = next;
            next *= size.max(1);
            stride
        })
        .collect();
    strides.reverse();
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dtype::DType;

    #[test]
    fn strides_are_those_of_rows() {
        assert_eq!(strides(&[]), [0usize; 0]);
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[5, 0, 4]), [4, 4, 1]);
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        let bytes = |value| {
            let mut program = Program(Vec::new());
            program.number(value);
            program.0
        };
        assert_eq!(bytes(255), b"K\xff");
        assert_eq!(bytes(256), b"J\x00\x01\x00\x00");
        assert_eq!(bytes(1 << 31), b"\x8a\x08\x00\x00\x00\x80\x00\x00\x00\x00");
    }

    #[test]
    fn only_the_small_floats_have_no_storages_of_their_own() {
        assert_eq!(storage_class(DType::BF16), Some("BFloat16"));
        assert_eq!(storage_class(DType::F8E4M3), None);
        assert_eq!(storage_class(DType::F8E5M2), None);
    }
}
