//! The stack machine that a pickle is a program for, without the parts that could do anything.
//!
//! Names are looked up in a closed list ([`Global::find`]), and calling one makes a value of the few
//! kinds in [`values`](super::values). Everything is counted, so that a small file cannot claim much
//! memory. Opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>.

use super::super::CheckpointError;
use super::rebuild;
use super::stream::Stream;
use super::values::{Global, Text, Value, Values};

/// The most steps that one file may take, where a copied value counts as a step. A tensor takes some
/// 40, so that this is enough for 100 000 tensors in one file. Bounds the memory of the stack, the memo
/// and all containers at a few hundred megabytes.
pub(super) const MAX_STEPS: usize = 1 << 22;

/// Runs the pickles of one file.
pub(super) struct Machine<'a> {
    pub(super) stream: Stream<'a>,
    pub(super) values: Values,
    stack: Vec<Value>,
    /// Lengths of the stack when marks were set.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    steps: usize,
    /// Where the current opcode is, counted from the start of the file.
    position: u64,
}

impl<'a> Machine<'a> {
    pub(super) fn new(stream: Stream<'a>) -> Self {
        Self {
            stream,
            values: Values::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            steps: 0,
            position: 0,
        }
    }

    /// Runs one pickle up to its end and returns its value.
    pub(super) fn run(&mut self) -> Result<Value, CheckpointError> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            self.position = self.stream.position();
            self.count(1)?;
            match self.stream.byte()? {
                b'.' => return self.pop(),
                opcode => self.step(opcode)?,
            }
        }
    }

    /// The bytes of a text.
    pub(super) fn text(&self, text: Text) -> &[u8] {
        &self.stream.buffer()[text.start as usize..text.end as usize]
    }

    /// Counts `n` steps towards the limit.
    pub(super) fn count(&mut self, n: usize) -> Result<(), CheckpointError> {
        self.steps = self.steps.saturating_add(n);
        if self.steps > MAX_STEPS {
            return Err(CheckpointError::PickleTooLarge { path: self.stream.path().to_owned() });
        }
        Ok(())
    }

    /// An error about the current opcode.
    pub(super) fn broken(&self, what: &'static str) -> CheckpointError {
        self.stream.broken(self.position, what)
    }

    fn step(&mut self, opcode: u8) -> Result<(), CheckpointError> {
        match opcode {
            // PROTO, FRAME
            0x80 => drop(self.stream.byte()?),
            0x95 => drop(self.stream.array::<8>()?),

            // NONE, NEWTRUE, NEWFALSE, BINFLOAT, FLOAT
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Opaque),
            b'G' => {
                self.stream.array::<8>()?;
                self.stack.push(Value::Opaque);
            }
            b'F' => {
                self.stream.line()?;
                self.stack.push(Value::Opaque);
            }

            // BININT, BININT1, BININT2, LONG1, LONG4, INT and LONG
            b'J' => {
                let value = i32::from_le_bytes(self.stream.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.stream.byte()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.stream.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => {
                let length = self.stream.byte()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.length4()?;
                self.long(length)?;
            }
            b'I' | b'L' => {
                let line = self.stream.line()?;
                let digits = std::str::from_utf8(&self.stream.buffer()[line]).unwrap_or_default();
                let value = digits.strip_suffix('L').unwrap_or(digits).parse();
                self.stack.push(value.map_or(Value::Opaque, Value::Int));
            }

            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING, UNICODE. Bytes
            // are told from text by nobody here, and Python 2 wrote names as the former.
            b'X' | b'T' => {
                let length = self.length4()?;
                self.push_text(length)?;
            }
            0x8c | b'U' => {
                let length = self.stream.byte()?;
                self.push_text(length.into())?;
            }
            0x8d => {
                let length = u64::from_le_bytes(self.stream.array()?);
                self.push_text(length)?;
            }
            b'V' => {
                let line = self.stream.line()?;
                self.stack.push(text(line.start, line.end));
            }
            // STRING, in quotes
            b'S' => {
                let line = self.stream.line()?;
                if line.len() < 2 {
                    return Err(self.broken("holds a string without quotes"));
                }
                self.stack.push(text(line.start + 1, line.end - 1));
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = match opcode {
                    b'B' => self.length4()?,
                    b'C' => self.stream.byte()?.into(),
                    _ => u64::from_le_bytes(self.stream.array()?),
                };
                self.stream.take(length)?;
                self.stack.push(Value::Opaque);
            }

            // EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE, EMPTY_LIST, LIST, EMPTY_DICT, DICT
            b')' => self.push_tuple(Vec::new()),
            0x85..=0x87 => {
                let n = usize::from(opcode - 0x84);
                let items = self.pop_many(n)?;
                self.push_tuple(items);
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_tuple(items);
            }
            b']' => self.push_list(Vec::new()),
            b'l' => {
                let items = self.pop_mark()?;
                self.push_list(items);
            }
            b'}' => self.push_dict(Vec::new()),
            b'd' => {
                let items = self.pop_mark()?;
                let items = self.pairs(&items)?;
                self.push_dict(items);
            }
            // EMPTY_SET, FROZENSET
            0x8f => self.stack.push(Value::Opaque),
            0x91 => {
                self.pop_mark()?;
                self.stack.push(Value::Opaque);
            }

            // APPEND, APPENDS and ADDITEMS, SETITEM, SETITEMS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }

            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }

            // BINPUT, LONG_BINPUT, MEMOIZE, PUT
            b'q' => {
                let index = self.stream.byte()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = self.length4()?;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'p' => {
                let index = self.number_line()?;
                self.remember(index)?;
            }
            // BINGET, LONG_BINGET, GET
            b'h' => {
                let index = self.stream.byte()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = self.length4()?;
                self.recall(index)?;
            }
            b'g' => {
                let index = self.number_line()?;
                self.recall(index)?;
            }

            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.stream.line()?, self.stream.line()?);
                let buffer = self.stream.buffer();
                let global = self.global(&buffer[module], &buffer[name])?;
                self.stack.push(Value::Global(global));
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let [Value::Text(module), Value::Text(name)] = names[..] else {
                    return Err(self.broken("looks up what is no name"));
                };
                let global = self.global(self.text(module), self.text(name))?;
                self.stack.push(Value::Global(global));
            }

            // REDUCE, BUILD, BINPERSID
            b'R' => {
                let call = self.pop_many(2)?;
                let value = rebuild::call(self, call[0], call[1])?;
                self.stack.push(value);
            }
            b'b' => {
                self.pop()?;
                // Attributes of the container, such as a state dict's `_metadata`.
                if !matches!(self.top()?, Value::Dict(_) | Value::Opaque) {
                    return Err(self.broken("sets attributes of what has none"));
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let value = rebuild::storage(self, id)?;
                self.stack.push(value);
            }

            _ => {
                return Err(CheckpointError::ForbiddenOpcode {
                    path: self.stream.path().to_owned(),
                    opcode: opcode_name(opcode),
                    position: self.position,
                });
            }
        }
        Ok(())
    }

    /// Where the values of the current mark begin, below which nothing may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value, CheckpointError> {
        match self.stack.last() {
            Some(&value) if self.stack.len() > self.floor() => Ok(value),
            _ => Err(self.broken("takes more than it has put down")),
        }
    }

    fn pop(&mut self) -> Result<Value, CheckpointError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The last `n` values, oldest first.
    fn pop_many(&mut self, n: usize) -> Result<Vec<Value>, CheckpointError> {
        match self.stack.len().checked_sub(n) {
            Some(start) if start >= self.floor() => Ok(self.cut(start)),
            _ => Err(self.broken("takes more than it has put down")),
        }
    }

    /// The values since the last mark, oldest first.
    fn pop_mark(&mut self) -> Result<Vec<Value>, CheckpointError> {
        let Some(mark) = self.marks.pop() else {
            return Err(self.broken("takes more than it has put down"));
        };
        Ok(self.cut(mark))
    }

    /// The values from `start` on. Not by `split_off`, which gives away the whole allocation of the
    /// stack when nothing remains on it.
    fn cut(&mut self, start: usize) -> Vec<Value> {
        let items = self.stack[start..].to_vec();
        self.stack.truncate(start);
        items
    }

    pub(super) fn new_dict(&mut self, items: Vec<(Value, Value)>) -> Value {
        self.values.dicts.push(items);
        Value::Dict(last(&self.values.dicts))
    }

    fn push_dict(&mut self, items: Vec<(Value, Value)>) {
        let dict = self.new_dict(items);
        self.stack.push(dict);
    }

    fn push_tuple(&mut self, items: Vec<Value>) {
        self.values.sequences.push(items);
        self.stack.push(Value::Tuple(last(&self.values.sequences)));
    }

    fn push_list(&mut self, items: Vec<Value>) {
        self.values.sequences.push(items);
        self.stack.push(Value::List(last(&self.values.sequences)));
    }

    fn push_text(&mut self, length: u64) -> Result<(), CheckpointError> {
        let span = self.stream.take(length)?;
        self.stack.push(text(span.start, span.end));
        Ok(())
    }

    fn append(&mut self, items: &[Value]) -> Result<(), CheckpointError> {
        match self.top()? {
            Value::List(list) => self.values.sequences[list as usize].extend_from_slice(items),
            Value::Opaque => {}
            _ => return Err(self.broken("appends to what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value]) -> Result<(), CheckpointError> {
        let pairs = self.pairs(items)?;
        match self.top()? {
            Value::Dict(dict) => self.values.dicts[dict as usize].extend(pairs),
            Value::Opaque => {}
            _ => return Err(self.broken("sets an item of what is no dictionary")),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Value]) -> Result<Vec<(Value, Value)>, CheckpointError> {
        match items.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.broken("has a key without a value")),
        }
    }

    fn remember(&mut self, index: u64) -> Result<(), CheckpointError> {
        let top = self.top()?;
        // Writers number densely; a gap wider than the pickle is long would only claim memory.
        let index = index as usize;
        if index >= self.steps {
            return Err(self.broken("numbers a value far too high"));
        }
        if index >= self.memo.len() {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), CheckpointError> {
        match self.memo.get(index as usize) {
            Some(&Some(value)) => self.stack.push(value),
            _ => return Err(self.broken("refers to a value that was never numbered")),
        }
        Ok(())
    }

    fn global(&self, module: &[u8], name: &[u8]) -> Result<Global, CheckpointError> {
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        Global::find(&module, &name).ok_or_else(|| CheckpointError::ForbiddenGlobal {
            path: self.stream.path().to_owned(),
            global: shorten(&format!("{module}.{name}")),
            position: self.position,
        })
    }

    fn length4(&mut self) -> Result<u64, CheckpointError> {
        Ok(u32::from_le_bytes(self.stream.array()?).into())
    }

    fn number_line(&mut self) -> Result<u64, CheckpointError> {
        let line = self.stream.line()?;
        let digits = std::str::from_utf8(&self.stream.buffer()[line]).ok();
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.broken("refers to what is no number"))
    }

    /// A whole number of `length` bytes, in two's complement. One that fits no size or offset is kept
    /// as something unknown.
    fn long(&mut self, length: u64) -> Result<(), CheckpointError> {
        let span = self.stream.take(length)?;
        let digits = &self.stream.buffer()[span];
        let value = if digits.len() > 8 {
            Value::Opaque
        } else {
            let is_negative = digits.last().is_some_and(|&high| high >= 0x80);
            let mut bytes = [if is_negative { 0xff } else { 0 }; 8];
            bytes[..digits.len()].copy_from_slice(digits);
            Value::Int(i64::from_le_bytes(bytes))
        };
        self.stack.push(value);
        Ok(())
    }
}

/// A text of the stream's buffer, which is shorter than any `u32`.
fn text(start: usize, end: usize) -> Value {
    Value::Text(Text { start: start as u32, end: end as u32 })
}

/// The place of the newest container. There are no more than steps.
pub(super) fn last<T>(arena: &[T]) -> u32 {
    (arena.len() - 1) as u32
}

/// Keeps an error message to a line, whatever name a hostile file asks for.
fn shorten(name: &str) -> String {
    const MAX: usize = 100;
    let mut short: String = name.chars().take(MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}

fn opcode_name(opcode: u8) -> String {
    let name = match opcode {
        b'P' => "PERSID",
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("{opcode:#04x}"),
    };
    name.to_owned()
}
