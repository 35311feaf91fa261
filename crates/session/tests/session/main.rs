//! Sessions in virtual time: the rules of one connection (`protocol`), and random schedules over many (`schedules`).

mod protocol;
mod schedules;
mod world;
