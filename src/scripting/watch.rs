//! The watch over a script that runs: whether it may go on, and how much memory it takes outside of the interpreter.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::Lua;

/// Memory of an interpreter, in bytes, and of what is written for a script: a script that wants more is stopped.
pub(super) const MEMORY_BYTES_MAX: usize = 512 << 20;
/// Steps of a loop of ours between two looks at the clock.
const STEPS_PER_LOOK: usize = 1_000;
/// Bytes that are compared or copied in the time of such a step.
const BYTES_PER_STEP: usize = 64;

/// Asks whether a script may go on, by the time since this was made; the text of the error if not.
pub type MayGoOn = Rc<dyn Fn() -> Result<(), &'static str>>;

/// What may end a script before it ends by itself.
#[derive(Clone, Default)]
pub(super) struct Watch(Rc<Watched>);

#[derive(Default)]
struct Watched {
    running: RefCell<Option<Running>>,
    /// It has just begun: nothing took time yet.
    is_fresh: Cell<bool>,
}

/// A script that runs.
struct Running {
    may_go_on: MayGoOn,
    /// It was told to end, for this reason.
    stopped: Option<&'static str>,
}

impl Watch {
    /// The one over what this interpreter runs.
    pub fn of(lua: &Lua) -> Watch {
        let watch = lua.app_data_ref::<Watch>();
        watch.map(|watch| watch.clone()).unwrap_or_default()
    }

    /// A script begins.
    pub fn begin(&self, may_go_on: MayGoOn) {
        self.0.is_fresh.set(true);
        self.0.running.replace(Some(Running {
            may_go_on,
            stopped: None,
        }));
    }

    /// It ended. Returns why it was told to, if it was.
    pub fn end(&self) -> Option<&'static str> {
        self.0.running.take().and_then(|running| running.stopped)
    }

    /// The same as [`Watch::look`], but not for the first command that a script calls: reading the clock is a good part
    /// of what the shortest scripts cost.
    ///
    /// # Errors
    /// It may not.
    #[inline]
    pub fn look_unless_fresh(&self) -> mlua::Result<()> {
        if self.0.is_fresh.take() {
            return Ok(());
        }
        self.look()
    }

    /// Asks whether the script may go on.
    ///
    /// # Errors
    /// It may not. Who was told so once is told so again: scripts catch errors.
    pub fn look(&self) -> mlua::Result<()> {
        self.0.is_fresh.set(false);
        let mut running = self.0.running.borrow_mut();
        let Some(running) = running.as_mut() else {
            return Ok(());
        };
        if running.stopped.is_none() {
            running.stopped = (running.may_go_on)().err();
        }
        match running.stopped {
            Some(text) => Err(mlua::Error::RuntimeError(text.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the script was told to end.
    pub fn is_stopped(&self) -> bool {
        let running = self.0.running.borrow();
        running
            .as_ref()
            .is_some_and(|running| running.stopped.is_some())
    }
}

/// The error that there is not as much memory.
pub(super) fn no_memory() -> mlua::Error {
    mlua::Error::MemoryError("not enough memory".to_owned())
}

/// What a loop of ours may take on behalf of a script: time, and memory outside of the interpreter.
pub(super) struct Budget {
    watch: Watch,
    bytes_max: usize,
    steps: usize,
}

impl Budget {
    /// For what is to become a string of the interpreter: what that has left.
    pub fn of_string(lua: &Lua) -> Self {
        Budget::of_bytes(lua, MEMORY_BYTES_MAX.saturating_sub(lua.used_memory()))
    }

    /// For so many bytes.
    pub fn of_bytes(lua: &Lua, bytes_max: usize) -> Self {
        Budget {
            watch: Watch::of(lua),
            bytes_max,
            steps: 0,
        }
    }

    /// A step of the loop, after which so many bytes are taken.
    ///
    /// # Errors
    /// That is too much, or the script is stopped.
    #[inline]
    pub fn step(&mut self, bytes: usize) -> mlua::Result<()> {
        if bytes > self.bytes_max {
            return Err(no_memory());
        }
        self.steps(1)
    }

    /// So many steps, each about as long as comparing some bytes.
    ///
    /// # Errors
    /// The script is stopped.
    #[inline]
    pub fn steps(&mut self, count: usize) -> mlua::Result<()> {
        self.steps += 1 + count / BYTES_PER_STEP;
        if self.steps >= STEPS_PER_LOOK {
            self.steps = 0;
            self.watch.look()?;
        }
        Ok(())
    }

    /// A step that may take long.
    ///
    /// # Errors
    /// As for [`Budget::step`].
    pub fn long_step(&mut self, bytes: usize) -> mlua::Result<()> {
        self.watch.look()?;
        self.step(bytes)
    }
}
