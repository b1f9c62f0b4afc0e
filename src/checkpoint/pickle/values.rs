//! What a pickle of tensors can be made of. Everything else that it may hold is kept as
//! [`Value::Opaque`], of which nothing is known but that it is there.
//!
//! Containers lie in one arena and refer to each other by number, so that neither their nesting nor
//! their cycles matter to anyone.

use crate::kernels::dtype::DType;

/// Copied freely; containers are places in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Int(i64),
    Text(Text),
    Tuple(u32),
    List(u32),
    Dict(u32),
    Storage(u32),
    Tensor(u32),
    Global(Global),
    Opaque,
}

/// Bytes of the pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The containers of a pickle.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Tuples and lists.
    pub(super) sequences: Vec<Vec<Value>>,
    /// In the order of insertion; keys may repeat.
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<View>,
}

/// A run of elements in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: Text,
    pub(super) element: Element,
    /// Elements of the storage as it lies in the file.
    pub(super) elements: u64,
    /// The first of them that belongs to the view, in the oldest files.
    pub(super) first: u64,
}

/// A tensor as a view of a storage. `shape` and `strides` are equally long, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) storage: u32,
    /// Differs from the storage's type where that is untyped.
    pub(super) element: Element,
    /// In elements of the tensor's type, from the start of the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Known(DType),
    /// Bytes, whose type the tensor knows.
    Untyped,
    /// One that cannot be merged.
    Unsupported(&'static str),
}

/// A name that a pickle may look up. No name is ever looked up anywhere but in this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildFromType,
    Size,
    /// `torch.Tensor` or a subclass without data of its own.
    TensorClass,
    StorageClass(Element),
    ElementType(Element),
    /// Makes something that is no tensor: a number, a set, a device.
    Opaque,
}

impl Global {
    /// `None` for everything that is not on the list.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch", "Size") => Self::Size,
            ("torch", "Tensor")
            | ("torch._tensor", "Tensor")
            | ("torch.nn.parameter", "Parameter" | "Buffer") => Self::TensorClass,
            ("torch" | "torch.storage", "UntypedStorage") => Self::StorageClass(Element::Untyped),
            ("torch", name) => match name.strip_suffix("Storage") {
                Some(kind) => Self::StorageClass(storage_element(kind)?),
                None if name == "device" => Self::Opaque,
                None => Self::ElementType(element_type(name)?),
            },
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar")
            | ("numpy", "dtype")
            | ("_codecs", "encode")
            | ("collections", "Counter")
            | ("__builtin__" | "builtins", "set" | "frozenset" | "bytearray" | "complex") => {
                Self::Opaque
            }
            _ => return None,
        })
    }
}

/// Classes of storages by their name without `Storage`, and the type of their elements.
const STORAGE_CLASSES: [(&str, DType); 10] = [
    ("Double", DType::F64),
    ("Float", DType::F32),
    ("Half", DType::F16),
    ("BFloat16", DType::BF16),
    ("Long", DType::I64),
    ("Int", DType::I32),
    ("Short", DType::I16),
    ("Char", DType::I8),
    ("Byte", DType::U8),
    ("Bool", DType::Bool),
];

/// The class of storages of a type, without `Storage`; `None` for types that are only kept as bytes.
pub(super) fn storage_class(dtype: DType) -> Option<&'static str> {
    STORAGE_CLASSES.iter().find(|(_, known)| *known == dtype).map(|(class, _)| *class)
}

/// The type in the name of a storage's class.
fn storage_element(kind: &str) -> Option<Element> {
    let known = STORAGE_CLASSES.iter().find(|(class, _)| *class == kind);
    if let Some((_, dtype)) = known {
        return Some(Element::Known(*dtype));
    }
    Some(Element::Unsupported(match kind {
        "ComplexDouble" => "complex128",
        "ComplexFloat" => "complex64",
        "QInt8" => "qint8",
        "QUInt8" => "quint8",
        "QInt32" => "qint32",
        "QUInt4x2" => "quint4x2",
        "QUInt2x4" => "quint2x4",
        _ => return None,
    }))
}

/// The type that PyTorch calls `name`.
fn element_type(name: &str) -> Option<Element> {
    const KNOWN: [DType; 12] = [
        DType::BF16,
        DType::F16,
        DType::F32,
        DType::F64,
        DType::F8E4M3,
        DType::F8E5M2,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];
    const UNSUPPORTED: [&str; 16] = [
        "uint16",
        "uint32",
        "uint64",
        "complex32",
        "complex64",
        "complex128",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "float4_e2m1fn_x2",
        "qint8",
        "quint8",
        "qint32",
        "quint4x2",
        "quint2x4",
        "bits8",
    ];
    let known = KNOWN.into_iter().find(|dtype| dtype.to_string() == name).map(Element::Known);
    let unsupported = || UNSUPPORTED.into_iter().find(|&other| other == name);
    known.or_else(|| unsupported().map(Element::Unsupported))
}
