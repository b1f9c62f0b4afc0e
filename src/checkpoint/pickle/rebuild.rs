//! The calls that a pickle of tensors makes: storages, views of them, and what wraps those.

use super::super::CheckpointError;
use super::machine::{Machine, last};
use super::values::{Element, Global, Storage, Value, View};

/// As many as PyTorch allows. Bounds the memory of a view.
const MAX_AXES: usize = 64;

/// What `callable(*arguments)` gives.
pub(super) fn call(
    machine: &mut Machine<'_>,
    callable: Value,
    arguments: Value,
) -> Result<Value, CheckpointError> {
    let (Value::Global(global), Value::Tuple(arguments)) = (callable, arguments) else {
        return Err(machine.broken("calls what cannot be called"));
    };
    match global {
        Global::RebuildFromType => match machine.values.sequences[arguments as usize][..] {
            // The function that makes the tensor, its class, arguments, and attributes.
            [
                Value::Global(inner),
                Value::Global(Global::TensorClass),
                Value::Tuple(arguments),
                _,
            ] if inner != Global::RebuildFromType => plain_call(machine, inner, arguments),
            _ => Err(machine.broken("makes a tensor of an unknown class")),
        },
        _ => plain_call(machine, global, arguments),
    }
}

fn plain_call(
    machine: &mut Machine<'_>,
    global: Global,
    tuple: u32,
) -> Result<Value, CheckpointError> {
    let arguments = &machine.values.sequences[tuple as usize];
    match (global, &arguments[..]) {
        (Global::OrderedDict, []) => Ok(machine.new_dict(Vec::new())),
        (Global::OrderedDict, &[Value::List(list)]) => ordered_dict(machine, list),
        (
            Global::RebuildTensor | Global::RebuildTensorV2,
            &[Value::Storage(storage), Value::Int(offset), shape, strides, ref rest @ ..],
        ) => {
            let is_flagged = match rest {
                // requires_grad, hooks, and flags such as a pending conjugation.
                [_, _, Value::Dict(flags)] => !machine.values.dicts[*flags as usize].is_empty(),
                _ => false,
            };
            if is_flagged {
                return Err(machine.broken("makes a tensor with a pending conjugation or sign"));
            }
            let element = machine.values.storages[storage as usize].element;
            view(machine, storage, element, offset, shape, strides)
        }
        (
            Global::RebuildTensorV3,
            &[
                Value::Storage(storage),
                Value::Int(offset),
                shape,
                strides,
                _,
                _,
                Value::Global(Global::ElementType(element)),
                ..,
            ],
        ) => view(machine, storage, element, offset, shape, strides),
        (Global::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
        (Global::Size, &[sizes @ (Value::Tuple(_) | Value::List(_))]) => Ok(sizes),
        (Global::Opaque, _) => Ok(Value::Opaque),
        _ => Err(machine.broken("makes a call with arguments of the wrong kind")),
    }
}

/// An ordered dictionary from a list of pairs.
fn ordered_dict(machine: &mut Machine<'_>, list: u32) -> Result<Value, CheckpointError> {
    // The list may be copied any number of times.
    machine.count(machine.values.sequences[list as usize].len())?;
    let sequences = &machine.values.sequences;
    let pair = |item: &Value| match *item {
        Value::Tuple(pair) | Value::List(pair) => match sequences[pair as usize][..] {
            [key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    };
    let pairs: Option<Vec<_>> = sequences[list as usize].iter().map(pair).collect();
    match pairs {
        Some(pairs) => Ok(machine.new_dict(pairs)),
        None => Err(machine.broken("makes a dictionary of what are no pairs")),
    }
}

fn view(
    machine: &mut Machine<'_>,
    storage: u32,
    element: Element,
    offset: i64,
    shape: Value,
    strides: Value,
) -> Result<Value, CheckpointError> {
    let (Ok(offset), Some(shape), Some(strides)) =
        (u64::try_from(offset), sizes(machine, shape), sizes(machine, strides))
    else {
        return Err(machine.broken("makes a tensor of an impossible shape"));
    };
    if shape.len() != strides.len() {
        return Err(machine.broken("makes a tensor of an impossible shape"));
    }
    machine.count(shape.len())?;
    machine.values.tensors.push(View { storage, element, offset, shape, strides });
    Ok(Value::Tensor(last(&machine.values.tensors)))
}

/// `None` when these are no sizes of axes.
fn sizes(machine: &Machine<'_>, value: Value) -> Option<Vec<usize>> {
    let (Value::Tuple(sizes) | Value::List(sizes)) = value else { return None };
    let sizes = &machine.values.sequences[sizes as usize];
    if sizes.len() > MAX_AXES {
        return None;
    }
    let size = |value: &Value| match *value {
        Value::Int(size) => usize::try_from(size).ok(),
        _ => None,
    };
    sizes.iter().map(size).collect()
}

/// The storage that a persistent id stands for:
/// `("storage", class, key, location, elements)`, and in the legacy form a view of a larger storage,
/// `(key, first, elements)`, or none.
pub(super) fn storage(machine: &mut Machine<'_>, id: Value) -> Result<Value, CheckpointError> {
    let wrong = |machine: &Machine<'_>| machine.broken("refers to data by an unknown kind of name");
    let Value::Tuple(id) = id else { return Err(wrong(machine)) };
    let [
        Value::Text(kind),
        Value::Global(Global::StorageClass(element)),
        Value::Text(key),
        _,
        Value::Int(elements),
        ref view @ ..,
    ] = machine.values.sequences[id as usize][..]
    else {
        return Err(wrong(machine));
    };
    let first = match *view {
        [] | [Value::None] => 0,
        [Value::Tuple(view)] => match machine.values.sequences[view as usize][..] {
            [Value::Text(_), Value::Int(first), Value::Int(_)] => first,
            _ => return Err(wrong(machine)),
        },
        _ => return Err(wrong(machine)),
    };
    let (b"storage", Ok(elements), Ok(first)) =
        (machine.text(kind), u64::try_from(elements), u64::try_from(first))
    else {
        return Err(wrong(machine));
    };
    machine.values.storages.push(Storage { key, element, elements, first });
    Ok(Value::Storage(last(&machine.values.storages)))
}
