//! The calls under `/v1/transactions`, one file each.

mod close;
mod create;
mod list;
mod log;
mod manifest;
mod show;
mod slot_matrix;

pub(crate) use close::close;
pub(crate) use create::create;
pub(crate) use list::list;
pub(crate) use log::log;
pub(crate) use show::show;
