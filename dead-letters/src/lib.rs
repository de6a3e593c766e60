#![doc = include_str!("../README.md")]

pub mod inventory;
pub mod journal;
pub mod letter;
pub mod mask;
pub mod operation;
pub mod prediction;
