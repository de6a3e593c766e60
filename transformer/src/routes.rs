//! The route table. A new flow is one new file and one new line here.

use crate::route::Route;

/// Each route is a module of its name, with its `ROUTE`.
macro_rules! routes {
    ($($name:ident,)+) => {
        $(mod $name;)+

        /// All flows.
        pub const ROUTES: &[Route] = &[$($name::ROUTE),+];
    };
}

routes! {
    customer_registered,
    customer_details_changed,
}
