//! The code of each step of a registration, without a server or a socket.
//!
//! ```sh
//! cargo bench -p bench --bench steps
//! ```
//!
//! This command measures the time of each step. `script/instructions` counts the instructions, which are the
//! same in every run. For that, the program executes only the step `STEP`, `TIMES` times.

use std::{env, fmt, hint::black_box};

use contracts::topology;
use divan::Bencher;
use marketing::{customer::Customer as MarketingCustomer, store::statement, subscriptions::SUBSCRIPTIONS};
use messaging::{Incoming, Outgoing};
use transformer::flows::FLOWS;
use uuid::Uuid;
use web_store::{RegistrationForm, customer::Customer, version::CustomerVersion};

/// Marketing's largest batch.
const BATCH: usize = 256;

const FORM: &[u8] =
    b"name=Zo%C3%AB+%C3%93+D%C3%A1laigh&email=zoe.odalaigh%40example.org&marketing_consent=on\
      &idempotency_key=01981f5e-6f0a-7c3c-9d54-0d5d1c1a6a10";

/// A step. `prepare` returns a closure that executes it repeatedly.
struct Step {
    name: &'static str,
    prepare: fn() -> Box<dyn FnMut()>,
}

/// All steps, in the order in which a registration passes them.
const STEPS: &[Step] = &[
    Step { name: "form_to_customer", prepare: || Box::new(|| drop(black_box(customer()))) },
    Step { name: "customer_to_event", prepare: customer_to_event },
    Step { name: "envelope", prepare: envelope },
    Step { name: "event_to_command", prepare: event_to_command },
    Step { name: "command_to_customer", prepare: command_to_customer },
    Step { name: "statement_of_256_customers", prepare: customers_to_statement },
];

fn main() {
    let Ok(wanted) = env::var("STEP") else { return divan::main() };
    let step = STEPS.iter().find(|step| step.name == wanted).expect("STEP is the name of a step");
    let times: u32 = env::var("TIMES").expect("TIMES is set").parse().expect("TIMES is a number");
    let mut work = (step.prepare)();
    for _ in 0..times {
        work();
    }
}

#[divan::bench(args = STEPS)]
fn step(bencher: Bencher, step: &Step) {
    let mut work = (step.prepare)();
    bencher.bench_local(&mut work);
}

fn customer_to_event() -> Box<dyn FnMut()> {
    let version = CustomerVersion::first(customer());
    let message_id = Uuid::now_v7();
    Box::new(move || drop(black_box(black_box(&version).event(message_id, String::new()))))
}

fn envelope() -> Box<dyn FnMut()> {
    let event = event();
    Box::new(move || drop(black_box(Incoming::from_outgoing(black_box(&event)))))
}

fn event_to_command() -> Box<dyn FnMut()> {
    let event = Incoming::from_outgoing(&event());
    Box::new(move || drop(black_box(command(black_box(&event)))))
}

fn command_to_customer() -> Box<dyn FnMut()> {
    let command = Incoming::from_outgoing(&command(&Incoming::from_outgoing(&event())));
    Box::new(move || drop(black_box(parsed(black_box(&command)))))
}

fn customers_to_statement() -> Box<dyn FnMut()> {
    let customers: Vec<_> = (0..BATCH)
        .map(|_| parsed(&Incoming::from_outgoing(&command(&Incoming::from_outgoing(&event())))))
        .collect();
    Box::new(move || {
        let customers: Vec<_> = black_box(&customers).iter().collect();
        drop(black_box(statement(&customers, 0)));
    })
}

fn customer() -> Customer {
    let form = RegistrationForm::from_urlencoded(black_box(FORM)).expect("the form is well-formed");
    form.parse_customer().expect("all fields are valid")
}

/// Returns an event as the relay reads it from the outbox.
fn event() -> Outgoing {
    CustomerVersion::first(customer())
        .event(Uuid::now_v7(), telemetry::create_span(None, topology::WEB_STORE_EVENTS))
        .into_message(topology::WEB_STORE_EVENTS, false)
}

fn command(event: &Incoming) -> Outgoing {
    let command = (FLOWS[0].forward)(event).expect("the message satisfies its contract");
    command.expect("the flow makes a command of every event")
}

fn parsed(command: &Incoming) -> MarketingCustomer {
    (SUBSCRIPTIONS[0].parse)(command).expect("the message satisfies its contract")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
