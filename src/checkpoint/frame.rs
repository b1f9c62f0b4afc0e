//! A weight file apart from the data of its tensors, decided before any of it is known.

use std::cmp::Reverse;

use super::pickle::ArchiveLayout;
use super::{TensorInfo, WeightFormat, header, pickle};

/// Bytes and the first position in the file that they have.
pub(super) type Stretch = (u64, Vec<u8>);

/// What a weight file has around the data of its tensors, and where that lies.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// First byte of each tensor's data, in the order in which the tensors were given.
    pub(super) starts: Vec<u64>,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Length of what lists the tensors.
    pub(super) head_bytes: u64,
    /// What is known beforehand.
    pub(super) opening: Vec<Stretch>,
    /// The archive that the data are entries of, which is complete only with their checksums.
    archive: Option<ArchiveLayout>,
}

impl Frame {
    /// The frame of a file in `format` that holds `tensors`.
    pub(super) fn new(format: WeightFormat, tensors: &[(&str, &TensorInfo)]) -> Self {
        match format {
            WeightFormat::Safetensors => Self::safetensors(tensors),
            WeightFormat::Pickle => Self::pickle(tensors),
        }
    }

    /// Tensors are sorted by type and name like the safetensors library does, which keeps them aligned.
    fn safetensors(tensors: &[(&str, &TensorInfo)]) -> Self {
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&index| {
            let (name, info) = tensors[index];
            (Reverse(header::file_order(info.dtype)), name)
        });
        let header = header::encode(order.iter().map(|&index| tensors[index]));
        let head_bytes = header.len() as u64;
        let mut bytes = head_bytes;
        let mut starts = vec![0; tensors.len()];
        for index in order {
            starts[index] = bytes;
            bytes += tensors[index].1.bytes() as u64;
        }
        Self { starts, bytes, head_bytes, opening: vec![(0, header)], archive: None }
    }

    fn pickle(tensors: &[(&str, &TensorInfo)]) -> Self {
        let (mut archive, mut opening) = (ArchiveLayout::default(), Vec::new());
        for (name, content) in pickle::small_entries(tensors) {
            opening.push((archive.add_known(name, &content), content));
        }
        let mut add = |(index, info): (usize, &TensorInfo)| {
            archive.add(&pickle::data_name(index), info.bytes() as u64)
        };
        let starts = tensors.iter().map(|(_, info)| *info).enumerate().map(&mut add).collect();
        Self {
            starts,
            bytes: archive.bytes(),
            head_bytes: archive.directory_bytes(),
            opening,
            archive: Some(archive),
        }
    }

    /// Whether [`closing`](Self::closing) needs the checksums of tensors.
    pub(super) fn wants_checksums(&self) -> bool {
        self.archive.is_some()
    }

    /// What is known when all data is there, whose CRC-32 are `checksums`, in the order in which the
    /// tensors were given.
    pub(super) fn closing(&self, checksums: &[u32]) -> Vec<Stretch> {
        self.archive.as_ref().map_or_else(Vec::new, |archive| archive.encode(checksums))
    }
}
