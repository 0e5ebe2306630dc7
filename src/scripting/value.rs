//! Results of scripts as replies (<https://redis.io/docs/latest/develop/interact/programmability/lua-api/>).

use coterie_protocol::{ReplyWriter, RespVersion};
use mlua::{LuaString, Table, Value};

use super::watch::Budget;

/// Deeper results are cut off by an error.
const DEPTH_MAX: usize = 1_000;

/// Writes what a script has returned as a reply. `resp` is the version the script has chosen for itself.
///
/// # Errors
/// Of the interpreter, or it is more than the budget. What was written until then is no whole reply.
pub(super) fn to_reply(
    value: &Value,
    resp: RespVersion,
    budget: Budget,
    reply: &mut ReplyWriter<'_>,
) -> mlua::Result<()> {
    let mut results = Results {
        resp,
        budget,
        reply,
    };
    results.value(value, 0)
}

/// Results of scripts as replies.
struct Results<'w, 'o> {
    resp: RespVersion,
    budget: Budget,
    reply: &'w mut ReplyWriter<'o>,
}

/// As C converts a double on x86: out of range is the smallest.
fn truncated(number: f64) -> i64 {
    if number >= i64::MAX as f64 || number.is_nan() {
        return i64::MIN;
    }
    number as i64
}

impl Results<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.budget.step(self.reply.len())?;
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                self.budget.step(self.reply.len() + text.len())?;
                self.reply.bulk(&text);
            }
            Value::Boolean(flag) if self.resp == RespVersion::Resp3 => self.reply.boolean(*flag),
            Value::Boolean(true) => self.reply.integer(1),
            Value::Integer(number) => self.reply.integer(*number),
            Value::Number(number) => self.reply.integer(truncated(*number)),
            Value::Table(_) if depth >= DEPTH_MAX => {
                self.reply.error("ERR reached lua stack limit");
            }
            Value::Table(table) => self.table(table, depth)?,
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        self.budget.long_step(self.reply.len())?;
        // Fields are looked up as Lua does it without metamethods: those of a script are none of a reply's business.
        if let Some(text) = string_field(table, "err")? {
            self.reply.error(single_line(&text));
        } else if let Some(text) = string_field(table, "ok")? {
            self.reply.simple(single_line(&text));
        } else if let Value::Number(_) | Value::Integer(_) = table.raw_get::<Value>("double")? {
            self.reply.double(table.raw_get("double")?);
        } else if let Value::Table(map) = table.raw_get("map")? {
            let mark = self.reply.begin_map();
            let mut length = 0;
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.value(&key, depth + 1)?;
                self.value(&value, depth + 1)?;
                length += 1;
            }
            self.reply.end_map(mark, length);
        } else if let Value::Table(set) = table.raw_get("set")? {
            let mark = self.reply.begin_set();
            let mut length = 0;
            for pair in set.pairs::<Value, Value>() {
                self.value(&pair?.0, depth + 1)?;
                length += 1;
            }
            self.reply.end_set(mark, length);
        } else if let Some(digits) = string_field(table, "big_number")? {
            let digits = single_line(&digits);
            self.reply.big_number(&String::from_utf8_lossy(&digits));
        } else if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
            && let (Some(format), Some(text)) = (
                string_field(&verbatim, "format")?,
                string_field(&verbatim, "string")?,
            )
        {
            let text = text.as_bytes();
            self.budget.step(self.reply.len() + text.len())?;
            let format = String::from_utf8_lossy(&format.as_bytes()).into_owned();
            self.reply.verbatim(&format, &text);
        } else {
            self.array(table, depth)?;
        }
        Ok(())
    }

    fn array(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let mark = self.reply.begin_array();
        let mut length = 0;
        loop {
            let value: Value = table.raw_get(length + 1)?;
            if value.is_nil() {
                break;
            }
            self.value(&value, depth + 1)?;
            length += 1;
        }
        self.reply.end_array(mark, length);
        Ok(())
    }
}

fn string_field(table: &Table, name: &str) -> mlua::Result<Option<LuaString>> {
    Ok(match table.raw_get(name)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// A text that stands in one line of a reply.
fn single_line(text: &LuaString) -> Vec<u8> {
    let bytes = text.as_bytes();
    let trimmed = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    let kept = &bytes[..trimmed.map_or(0, |last| last + 1)];
    kept.iter()
        .map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            other => *other,
        })
        .collect()
}
