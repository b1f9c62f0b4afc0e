//! The matrix product: `output[rows, outputs] (+)= input[rows, inputs] · weightᵀ`.
//!
//! The lanes of a register are rows of the input. The input is packed into panels, in which a
//! register's worth of rows lies together for each input; weights are taken some outputs at a time, one
//! number of each to all lanes. So weights are read once and in order, are never rearranged, and
//! those that are not f32 are widened into a buffer that stays in the cache.
//!
//! An element of the result is a chain of fused multiplications and additions over [`BLOCK`] inputs,
//! in order; chains are added in order. It does not depend on the number of rows or threads, nor on
//! the width of registers.

use std::cell::Cell;

use pulp::bytemuck::cast_slice;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::values::Weight;

/// Inputs whose products are summed before they are added to an element of the output. Quantised
/// blocks divide it. Half a megabyte of packed input (256 rows) stays in the second-level cache.
const BLOCK: usize = 512;

/// Registers that lie side by side in a panel. With 8 outputs at a time they make 24 sums in
/// registers, for which 8 + 3 numbers or registers are loaded: few enough loads for the sums to
/// set the pace.
const VECTORS: usize = 3;

/// Elements between the widened weights of two outputs: not a multiple of a large power of two, so
/// that they do not compete for the same places of the cache.
const STRIDE: usize = BLOCK + 16;

/// Elements of a cache line.
const LINE: usize = 16;

/// Products smaller than this (in multiply-adds) stay on one thread. It is a tenth of a millisecond
/// of work, against some microseconds for handing a part of it to another thread.
pub(super) const SMALLEST_SHARED_PRODUCT: usize = 4 << 20;

/// A product of fewer rows takes as long as one of so many, since it has to read the weights.
const FEWEST_ROWS: usize = 16;

/// Rows for which it is worth while that each thread packs its own and reads all weights.
const ROWS_FOR_A_THREAD: usize = 96;

/// Whether a product replaces what stands in its output or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Replace,
    Add,
}

/// `output[rows, outputs] (+)= input[rows, inputs] · weightᵀ`, on at most `threads` threads of the
/// current rayon pool.
pub(super) fn multiply(
    output: &mut [f32],
    input: &[f32],
    weight: Weight<'_>,
    mode: Output,
    threads: usize,
) {
    let (outputs, inputs) = (weight.outputs, weight.inputs);
    if input.is_empty() || outputs == 0 {
        return;
    }
    let rows = input.len() / inputs;
    debug_assert_eq!(output.len(), rows * outputs);
    let size = rows.max(FEWEST_ROWS) * inputs * outputs;
    if threads < 2 || size < SMALLEST_SHARED_PRODUCT {
        return multiply_here(output, input, weight, mode);
    }
    let share = rows.div_ceil(threads).next_multiple_of(LINE * VECTORS);
    if share >= ROWS_FOR_A_THREAD {
        let parts = output.par_chunks_mut(share * outputs).zip(input.par_chunks(share * inputs));
        return parts.for_each(|(output, input)| multiply_here(output, input, weight, mode));
    }
    let share = outputs.div_ceil(threads).next_multiple_of(LINE);
    if rows == 1 {
        let parts = output.par_chunks_mut(share).enumerate();
        return parts.for_each(|(index, output)| {
            let first = index * share;
            multiply_here(output, input, weight.part(first..first + output.len()), mode);
        });
    }
    let firsts: Vec<usize> = (0..outputs).step_by(share).collect();
    let before = &*output;
    let parts: Vec<Vec<f32>> = firsts
        .par_iter()
        .map(|first| {
            let columns = *first..(first + share).min(outputs);
            let mut part = vec![0.0; rows * columns.len()];
            if mode == Output::Add {
                copy_columns(&mut part, columns.len(), 0, before, outputs, *first);
            }
            multiply_here(&mut part, input, weight.part(columns), mode);
            part
        })
        .collect();
    for (first, part) in firsts.into_iter().zip(parts) {
        copy_columns(output, outputs, first, &part, part.len() / rows, 0);
    }
}

/// Copies as many columns as fit from a matrix of one width to one of another.
fn copy_columns(
    to: &mut [f32],
    to_width: usize,
    to_first: usize,
    from: &[f32],
    from_width: usize,
    from_first: usize,
) {
    let count = (to_width - to_first).min(from_width - from_first);
    for (to, from) in to.chunks_exact_mut(to_width).zip(from.chunks_exact(from_width)) {
        to[to_first..][..count].copy_from_slice(&from[from_first..][..count]);
    }
}

/// The product on this thread.
fn multiply_here(output: &mut [f32], input: &[f32], weight: Weight<'_>, mode: Output) {
    let mut buffers = BUFFERS.take();
    Arch::new().dispatch(Product { output, input, weight, mode, buffers: &mut buffers });
    BUFFERS.set(buffers);
}

thread_local! {
    static BUFFERS: Cell<Buffers> = const { Cell::new(Buffers { panels: Vec::new(), tile: Vec::new() }) };
}

/// Memory that a thread's products reuse.
#[derive(Default)]
struct Buffers {
    /// The packed input.
    panels: Vec<f32>,
    /// Widened weights of a few outputs.
    tile: Vec<f32>,
}

/// As many elements of a buffer, from the beginning of a cache line on.
fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let start = buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    &mut buffer[start..start + len]
}

struct Product<'a> {
    output: &'a mut [f32],
    input: &'a [f32],
    weight: Weight<'a>,
    mode: Output,
    buffers: &'a mut Buffers,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Sums, a row of the panel and one weight stay in registers.
        if S::REGISTER_COUNT >= 32 {
            self.run::<S, 8>(simd);
        } else {
            self.run::<S, 4>(simd);
        }
    }
}

impl Product<'_> {
    /// Takes `M` outputs at a time.
    #[inline(always)]
    fn run<S: Simd, const M: usize>(self, simd: S) {
        let Self { output, input, weight, mode, buffers } = self;
        let (outputs, inputs) = (weight.outputs, weight.inputs);
        let widest = VECTORS * S::F32_LANES;
        let rows = input.len() / inputs;
        let packed = rows.next_multiple_of(S::F32_LANES) * inputs;
        let panels = aligned(&mut buffers.panels, packed);
        let tile = aligned(&mut buffers.tile, M * STRIDE);
        for (panel, input) in panels.chunks_mut(widest * inputs).zip(input.chunks(widest * inputs))
        {
            pack(panel, input, inputs);
        }

        let blocks = inputs.div_ceil(BLOCK);
        let groups = outputs.div_ceil(M);
        // Several panels share a block of weights. One panel takes weights as they come.
        let single = rows <= widest;
        for index in 0..blocks * groups {
            let (block, group) = match single {
                true => (index % blocks, index / blocks),
                false => (index / groups, index % groups),
            };
            let range = block * BLOCK..((block + 1) * BLOCK).min(inputs);
            let first = group * M;
            let count = M.min(outputs - first);
            let mut weights = [&[][..]; M];
            match weight.rows_in_place() {
                Some(values) if single && count == M => {
                    for (index, weights) in weights.iter_mut().enumerate() {
                        *weights = &values[(first + index) * inputs..][range.clone()];
                    }
                }
                _ => {
                    for (index, tile) in tile.chunks_exact_mut(STRIDE).take(count).enumerate() {
                        weight.widen(first + index, range.clone(), &mut tile[..range.len()]);
                    }
                    for (weights, tile) in weights.iter_mut().zip(tile.chunks_exact(STRIDE)) {
                        *weights = &tile[..range.len()];
                    }
                }
            }
            let replace = block == 0 && mode == Output::Replace;
            let rows = output.chunks_mut(widest * outputs);
            for (panel, output) in panels.chunks(widest * inputs).zip(rows) {
                let width = panel.len() / inputs;
                let panel = &panel[range.start * width..range.end * width];
                let place = Place { output: &mut output[first..], stride: outputs, count, replace };
                match width / S::F32_LANES {
                    1 => multiply_panel::<S, M, 1>(simd, weights, panel, place),
                    2 => multiply_panel::<S, M, 2>(simd, weights, panel, place),
                    _ => multiply_panel::<S, M, VECTORS>(simd, weights, panel, place),
                }
            }
        }
    }
}

/// Lays rows `[rows, inputs]` out as `[inputs, lanes]`; lanes without a row are zero.
#[inline(always)]
fn pack(panel: &mut [f32], rows: &[f32], inputs: usize) {
    /// Inputs at a time, so that what is written stays in the first-level cache.
    const AT_ONCE: usize = 64;

    let width = panel.len() / inputs;
    if rows.len() < panel.len() {
        panel.fill(0.0);
    }
    for (index, panel) in panel.chunks_mut(AT_ONCE * width).enumerate() {
        let count = panel.len() / width;
        for (lane, row) in rows.chunks_exact(inputs).enumerate() {
            let row = &row[index * AT_ONCE..][..count];
            for (place, value) in panel.chunks_exact_mut(width).zip(row) {
                place[lane] = *value;
            }
        }
    }
}

/// Where the products of a panel and a group of outputs go.
struct Place<'a> {
    /// From the first row and output on.
    output: &'a mut [f32],
    /// Elements between rows.
    stride: usize,
    /// Outputs that exist.
    count: usize,
    replace: bool,
}

/// Multiplies `M` outputs' weights with a panel `[inputs, V registers]`.
#[inline(always)]
fn multiply_panel<S: Simd, const M: usize, const V: usize>(
    simd: S,
    weights: [&[f32]; M],
    panel: &[f32],
    place: Place<'_>,
) {
    let registers: &[S::f32s] = cast_slice(panel);
    let panel = registers.as_chunks::<V>().0;
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    let mut known = weights;
    for weights in &mut known {
        *weights = &weights[..panel.len()];
    }
    for (index, inputs) in panel.iter().enumerate() {
        for (sums, weights) in sums.iter_mut().zip(&known) {
            let weight = simd.splat_f32s(weights[index]);
            for (sum, input) in sums.iter_mut().zip(inputs) {
                *sum = simd.mul_add_f32s(weight, *input, *sum);
            }
        }
    }
    let sums: &[f32] = cast_slice(sums.as_flattened());
    let width = V * S::F32_LANES;
    let Place { output, stride, count, replace } = place;
    for (lane, row) in output.chunks_mut(stride).take(width).enumerate() {
        match row.first_chunk_mut::<M>() {
            Some(row) if count == M => {
                for (index, value) in row.iter_mut().enumerate() {
                    let sum = sums[index * width + lane];
                    *value = if replace { sum } else { *value + sum };
                }
            }
            _ => {
                for (index, value) in row.iter_mut().take(count).enumerate() {
                    let sum = sums[index * width + lane];
                    *value = if replace { sum } else { *value + sum };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lm::cpu::values::Values;

    fn random(count: usize, factor: f32) -> Vec<f32> {
        (0..count).map(|index| (index as f32 * factor).sin()).collect()
    }

    fn product(input: &[f32], weight: Weight<'_>, threads: usize) -> Vec<f32> {
        let mut output = vec![f32::NAN; input.len() / weight.inputs * weight.outputs];
        multiply(&mut output, input, weight, Output::Replace, threads);
        output
    }

    #[test]
    fn products_do_not_depend_on_rows_threads_or_layout() {
        let (outputs, inputs) = (203, 1100);
        let weight = random(outputs * inputs, 0.71);
        let input = random(150 * inputs, 0.37);
        let whole = Weight { values: Values::Rows(&weight), outputs, inputs };
        let all = product(&input, whole, 1);
        for (index, value) in all.iter().enumerate().step_by(997) {
            let (row, output) = (index / outputs, index % outputs);
            let exact: f64 = (0..inputs)
                .map(|i| {
                    f64::from(input[row * inputs + i]) * f64::from(weight[output * inputs + i])
                })
                .sum();
            assert!((f64::from(*value) - exact).abs() < 1e-4, "{value} is not {exact}");
        }
        for rows in [1, 2, 15, 16, 17, 33, 48, 49, 97, 150] {
            for threads in [1, 2, 3] {
                let some = product(&input[..rows * inputs], whole, threads);
                assert_eq!(some, all[..rows * outputs], "{rows} rows, {threads} threads");
            }
            let last = product(&input[(150 - rows) * inputs..], whole, 1);
            assert_eq!(last, all[(150 - rows) * outputs..], "the last {rows} rows");
        }
        let mut transposed = vec![0.0; outputs * inputs];
        for output in 0..outputs {
            for input in 0..inputs {
                transposed[input * outputs + output] = weight[output * inputs + input];
            }
        }
        let columns = Values::Columns { values: &transposed, stride: outputs };
        for rows in [1, 40, 150] {
            let turned = Weight { values: columns, outputs, inputs };
            assert_eq!(product(&input[..rows * inputs], turned, 2), all[..rows * outputs]);
        }
        let part = product(&input[..5 * inputs], whole.part(10..31), 1);
        for (row, part) in part.chunks_exact(21).enumerate() {
            assert_eq!(part, &all[row * outputs + 10..row * outputs + 31]);
        }
    }

    #[test]
    fn sums_are_the_same_on_any_number_of_threads() {
        let (outputs, inputs) = (512, 1100);
        let weight = random(outputs * inputs, 0.71);
        let weight = Weight { values: Values::Rows(&weight), outputs, inputs };
        let input = random(200 * inputs, 0.37);
        let before = random(200 * outputs, 0.11);
        let mut all = before.clone();
        multiply(&mut all, &input, weight, Output::Add, 1);
        for rows in [1, 3, 20, 200] {
            for threads in [1, 2, 5] {
                let mut some = before[..rows * outputs].to_vec();
                multiply(&mut some, &input[..rows * inputs], weight, Output::Add, threads);
                assert_eq!(some, all[..rows * outputs], "{rows} rows, {threads} threads");
            }
        }
    }
}
