// Mails when the resource group costs more than it should. It stops nothing: what a campaign may spend on models is
// capped by the campaign's own budget.
param amount int
@description('The first day of a month. It cannot be changed once the budget is there.')
param start string
param email string

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'cpo'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: start
    }
    notifications: {
      spent: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [
          email
        ]
      }
      foreseen: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [
          email
        ]
      }
    }
  }
}
