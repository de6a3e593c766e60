//! The route table. A new flow is one new file and one new line here.

mod customer_registered;

use crate::route::Route;

/// All flows.
pub const ROUTES: &[Route] = &[
    customer_registered::ROUTE, //
];
