//! All flows. A new flow is one new file in `flows/` and one new line here.

use crate::flow::FlowEntry;

/// Declares the module of each flow, and lists the flows.
macro_rules! flows {
    ($($module:ident :: $flow:ident,)+) => {
        $(mod $module;)+

        /// All flows, in the order in which health reports them.
        pub const FLOWS: &[FlowEntry] = &[$(FlowEntry::of::<$module::$flow>()),+];
    };
}

flows! {
    customer_registered::CreateRegisteredCustomer,
    customer_details_changed::UpdateChangedCustomer,
    customer_erased::ForgetErasedCustomer,
    customers_requested::ReplayRequestedCustomers,
}
