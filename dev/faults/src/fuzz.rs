//! A fuzzer of the wire protocol: odd and bad messages among good ones.
//!
//! Its own encoder, [`crate::wire`], sends what no client library sends. Every message is generated from the seed
//! and its number. A good message is a registration at the Web Store, and must arrive as exactly one row within a
//! minute. A bad message that the broker takes must be processed or become a dead letter.

mod account;
mod bodies;
mod draft;
mod framing;
mod headers;
mod id;
mod kinds;
mod message;
mod properties;
mod publisher;
mod report;
mod run;

pub(crate) use self::{
    account::Account,
    id::{find_number_in, number_of},
    kinds::KINDS,
    message::FuzzMessage,
    publisher::{Publisher, connect},
    report::{Fate, Report},
    run::{FuzzArguments, run},
};
