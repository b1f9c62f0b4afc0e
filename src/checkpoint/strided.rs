//! Tensors whose elements do not lie in row-major order: slices, transposes and repetitions that were
//! saved as views of a larger storage.
//!
//! A stretch of such a tensor is cut into boxes, and a box is read in the order of the file, whatever
//! the order of its axes. Small gaps are read and dropped, because a few kilobytes cost less than
//! another system call. Memory is one window of a fixed size.

use std::ops::Range;

/// Bytes read at a time.
const WINDOW: usize = 1 << 16;

/// Gaps of at most this many bytes are read over.
const SMALL_GAP: usize = 1 << 12;

/// Gaps of at most this many times the bytes between them are read over.
const GAP_RATIO: usize = 4;

/// Where the elements of a tensor lie, relative to its first one. Axes that can be walked as one are
/// one, and none has a single element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strides {
    axes: Vec<Axis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    count: usize,
    /// From one element to the next, in elements.
    stride: usize,
}

impl Strides {
    /// `None` when the elements lie in row-major order without gaps, or when there are none.
    /// `shape` and `strides` are equally long, outermost first.
    pub(super) fn new(shape: &[usize], strides: &[usize]) -> Option<Self> {
        if shape.contains(&0) {
            return None;
        }
        let mut axes: Vec<Axis> = Vec::with_capacity(shape.len());
        for (&count, &stride) in shape.iter().zip(strides).filter(|&(&count, _)| count > 1) {
            match axes.last_mut() {
                Some(outer) if stride.checked_mul(count) == Some(outer.stride) => {
                    *outer = Axis { count: outer.count * count, stride };
                }
                _ => axes.push(Axis { count, stride }),
            }
        }
        match axes[..] {
            [] | [Axis { stride: 1, .. }] => None,
            _ => Some(Self { axes }),
        }
    }

    /// Fills `out` with elements of `size` bytes, from element `start` on in row-major order. `read`
    /// fills its buffer from a byte on that counts from the tensor's first element.
    ///
    /// The elements asked for exist, and `size` is 1, 2, 4 or 8.
    pub(super) fn gather<E>(
        &self,
        size: usize,
        start: usize,
        out: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut boxes = Vec::new();
        cut(&self.axes, start..start + out.len() / size, 0, 0, &mut boxes);
        let mut window = Vec::new();
        for part in boxes {
            part.read(size, out, &mut window, &mut read)?;
        }
        Ok(())
    }
}

/// An axis of a box, in the file and in the output, in elements.
#[derive(Debug, Clone, Copy)]
struct Steps {
    count: usize,
    from: usize,
    to: usize,
}

impl Steps {
    const SINGLE: Self = Self { count: 1, from: 0, to: 0 };
}

/// A part of a tensor that is a range along every axis.
#[derive(Debug)]
struct Part {
    axes: Vec<Steps>,
    /// The first element in the file.
    from: usize,
    /// The first element in the output.
    to: usize,
}

/// Cuts the elements `range` of a tensor into boxes: at most two for each axis, and one.
fn cut(axes: &[Axis], range: Range<usize>, from: usize, mut to: usize, boxes: &mut Vec<Part>) {
    if range.is_empty() {
        return;
    }
    let Some((axis, inner)) = axes.split_first() else {
        boxes.push(Part { axes: Vec::new(), from, to });
        return;
    };
    let row: usize = inner.iter().map(|axis| axis.count).product();
    let mut at = range.start;
    let partial = at % row;
    if partial > 0 {
        let end = range.end.min(at - partial + row);
        let within = partial..partial + (end - at);
        cut(inner, within, from + at / row * axis.stride, to, boxes);
        to += end - at;
        at = end;
    }
    let rows = (range.end - at) / row;
    if rows > 0 {
        let mut axes = vec![Steps { count: rows, from: axis.stride, to: row }];
        let mut below = row;
        axes.extend(inner.iter().map(|axis| {
            below /= axis.count;
            Steps { count: axis.count, from: axis.stride, to: below }
        }));
        boxes.push(Part { axes, from: from + at / row * axis.stride, to });
        to += rows * row;
        at += rows * row;
    }
    cut(inner, 0..range.end - at, from + at / row * axis.stride, to, boxes);
}

impl Part {
    fn read<E>(
        mut self,
        size: usize,
        out: &mut [u8],
        window: &mut Vec<u8>,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.axes.sort_by_key(|axis| axis.from);

        // One read takes the innermost axes whole, as far as they fit, and some of the next one.
        let mut span = 1;
        let mut whole = 0;
        let is_near = |axis: &Steps, span: usize| {
            axis.from <= span.saturating_mul(GAP_RATIO)
                || axis.from.saturating_mul(size) <= SMALL_GAP
        };
        let fits = |axis: &Steps, span: usize| {
            let wider = (axis.count - 1).saturating_mul(axis.from).saturating_add(span);
            (wider.saturating_mul(size) <= WINDOW).then_some(wider)
        };
        while let Some(axis) = self.axes.get(whole).filter(|axis| is_near(axis, span))
            && let Some(wider) = fits(axis, span)
        {
            span = wider;
            whole += 1;
        }
        let (inner, rest) = self.axes.split_at(whole);
        let (&next, outer) = rest.split_first().unwrap_or((&Steps::SINGLE, &[]));
        let at_once = match next.from {
            0 => next.count,
            stride if is_near(&next, span) => 1 + (WINDOW / size - span) / stride,
            _ => 1,
        };

        let mut axes = inner.to_vec();
        axes.push(next);
        let mut result = Ok(());
        each(outer, self.from, self.to, &mut |from, to| {
            for first in (0..next.count).step_by(at_once) {
                let count = at_once.min(next.count - first);
                axes[whole].count = count;
                let (from, to) = (from + first * next.from, to + first * next.to);
                let bytes = (span + (count - 1) * next.from) * size;
                let byte = from as u64 * size as u64;
                if result.is_err() {
                    return;
                }
                result = if is_plain(&axes) {
                    read(byte, &mut out[to * size..][..bytes])
                } else {
                    window.resize(bytes, 0);
                    let done = read(byte, window);
                    if done.is_ok() {
                        scatter(size, window, &axes, to, out);
                    }
                    done
                };
            }
        });
        result
    }
}

/// Whether the elements along `axes` follow one another both in the file and in the output.
fn is_plain(axes: &[Steps]) -> bool {
    let mut long = axes.iter().filter(|axis| axis.count > 1);
    let first = long.next();
    first.is_none_or(|axis| axis.from == 1 && axis.to == 1) && long.next().is_none()
}

/// Calls `visit` with every place along `axes` in the file and in the output.
fn each(axes: &[Steps], from: usize, to: usize, visit: &mut impl FnMut(usize, usize)) {
    match axes.split_last() {
        None => visit(from, to),
        Some((axis, inner)) => {
            for i in 0..axis.count {
                each(inner, from + i * axis.from, to + i * axis.to, visit);
            }
        }
    }
}

/// Copies the elements of `window` along `axes` to `out`, where the first one belongs at `to`.
fn scatter(size: usize, window: &[u8], axes: &[Steps], to: usize, out: &mut [u8]) {
    match size {
        1 => scatter_elements::<1>(window, axes, to, out),
        2 => scatter_elements::<2>(window, axes, to, out),
        4 => scatter_elements::<4>(window, axes, to, out),
        _ => scatter_elements::<8>(window, axes, to, out),
    }
}

fn scatter_elements<const SIZE: usize>(window: &[u8], axes: &[Steps], to: usize, out: &mut [u8]) {
    let (window, _) = window.as_chunks::<SIZE>();
    let (out, _) = out.as_chunks_mut::<SIZE>();
    each(axes, 0, to, &mut |from, to| out[to] = window[from]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The place of every element in row-major order, the slow way.
    fn places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
        let mut places = vec![0];
        for (&count, &stride) in shape.iter().zip(strides) {
            places = places
                .iter()
                .flat_map(|place| (0..count).map(move |i| place + i * stride))
                .collect();
        }
        places
    }

    fn gather(strides: &Strides, size: usize, stored: &[u8], range: Range<usize>) -> Vec<u8> {
        let mut out = vec![0; range.len() * size];
        let read = |from: u64, out: &mut [u8]| {
            out.copy_from_slice(&stored[from as usize..][..out.len()]);
            Ok::<_, ()>(())
        };
        strides.gather(size, range.start, &mut out, read).unwrap();
        out
    }

    #[test]
    fn row_major_tensors_need_no_strides() {
        assert_eq!(Strides::new(&[2, 3, 4], &[12, 4, 1]), None);
        assert_eq!(Strides::new(&[2, 1, 4], &[4, 99, 1]), None);
        assert_eq!(Strides::new(&[], &[]), None);
        assert_eq!(Strides::new(&[5, 0], &[7, 7]), None);
        let axes = vec![Axis { count: 6, stride: 8 }, Axis { count: 4, stride: 1 }];
        assert_eq!(Strides::new(&[2, 3, 4], &[24, 8, 1]), Some(Strides { axes }));
    }

    #[test]
    fn axes_longer_than_a_window_are_read_in_parts() {
        for (shape, strides) in [
            ([70_000, 2], [1, 70_000]),
            ([2, 70_000], [1, 2]),
            ([3, 50_000], [150_000, 3]),
            ([40, 9], [2, 9_000]),
            ([300, 300], [0, 1]),
            ([300, 300], [1, 0]),
            ([100_000, 2], [0, 1]),
        ] {
            let places = places(&shape, &strides);
            let stored: Vec<u8> = (0..2 * (places.iter().max().unwrap() + 1))
                .map(|i| (i * 7 + i / 251) as u8)
                .collect();
            let range = 1..places.len() - 1;
            let expected: Vec<u8> = places[range.clone()]
                .iter()
                .flat_map(|&place| [stored[2 * place], stored[2 * place + 1]])
                .collect();
            let strides = Strides::new(&shape, &strides).unwrap();
            assert!(gather(&strides, 2, &stored, range) == expected, "{strides:?}");
        }
    }

    proptest! {
        #[test]
        fn every_stretch_of_every_view_is_gathered(
            axes in prop::collection::vec((1usize..5, 0usize..40), 0..5),
            ends: (prop::sample::Index, prop::sample::Index),
            size in prop::sample::select(vec![1usize, 2, 4, 8]),
        ) {
            let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let places = places(&shape, &strides);
            let stored: Vec<u8> =
                (0..size * (places.iter().max().unwrap() + 1)).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut ends = [ends.0.index(places.len() + 1), ends.1.index(places.len() + 1)];
            ends.sort();
            let range = ends[0]..ends[1];
            let expected: Vec<u8> = places[range.clone()]
                .iter()
                .flat_map(|place| stored[place * size..][..size].to_vec())
                .collect();
            match Strides::new(&shape, &strides) {
                Some(strides) => prop_assert_eq!(gather(&strides, size, &stored, range), expected),
                None => prop_assert_eq!(&stored[range.start * size..range.end * size], expected),
            }
        }
    }
}
