//! Carries out commands: parses each, saves all that can be, and says what became of every one.

use messaging::{Handler, Incoming, Outcome, Rejection, Unavailable};

use crate::{
    customer::Customer,
    store::{SaveError, Store},
};

/// Saves the customers that one sort of command tells of.
pub struct SaveCustomers {
    /// What a command says.
    pub parse: fn(&Incoming) -> Result<Customer, Rejection>,
    /// Where they are saved.
    pub store: Store,
}

impl Handler for SaveCustomers {
    /// A batch is one statement. If the database rejects it, it is done again one by one, so that only
    /// the offender goes.
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let customers: Vec<_> = batch.iter().map(self.parse).collect();
        let valid: Vec<&Customer> = customers.iter().flatten().collect();
        match self.store.save(&valid).await {
            Ok(()) => Ok(customers.into_iter().map(|customer| customer.map(drop)).collect()),
            Err(SaveError::Rejected(_)) => self.one_by_one(customers).await,
            Err(unavailable) => Err(Unavailable::from_error(unavailable)),
        }
    }
}

impl SaveCustomers {
    async fn one_by_one(
        &mut self,
        customers: Vec<Result<Customer, Rejection>>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let mut outcomes = Vec::with_capacity(customers.len());
        for customer in customers {
            outcomes.push(match customer {
                Ok(customer) => self.save_one(&customer).await?,
                Err(rejection) => Err(rejection),
            });
        }
        Ok(outcomes)
    }

    async fn save_one(&mut self, customer: &Customer) -> Result<Outcome, Unavailable> {
        match self.store.save(&[customer]).await {
            Ok(()) => Ok(Ok(())),
            Err(SaveError::Rejected(reason)) => Ok(Err(Rejection::RuleBroken(reason))),
            Err(unavailable) => Err(Unavailable::from_error(unavailable)),
        }
    }
}
