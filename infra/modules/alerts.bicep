// Mails somebody when the app cannot help itself. docs/operations.md says what to do about each.
param location string
param tags object
param email string
param componentId string
param topicId string

var rules = [
  {
    name: 'cpo-given-up'
    description: 'A message was tried five times and went to a poison queue: an item of a campaign got a tombstone.'
    severity: 2
    // Poison functions empty the poison queues, so that their calls tell more than the lengths of the queues.
    query: 'requests | where name endswith "-poison"'
    operator: 'GreaterThan'
    threshold: 0
    minutes: 15
  }
  {
    name: 'cpo-failing'
    description: 'More than 20 invocations failed within a quarter of an hour.'
    severity: 2
    query: 'requests | where success == false'
    operator: 'GreaterThan'
    threshold: 20
    minutes: 15
  }
  {
    name: 'cpo-api-errors'
    description: 'The HTTP API answered with a status of 500 or above.'
    severity: 2
    query: 'requests | where toint(resultCode) between (500 .. 599)'
    operator: 'GreaterThan'
    threshold: 0
    minutes: 15
  }
  {
    name: 'cpo-sweeper-silent'
    description: 'The sweeper has not run for half an hour: the app does not start, or cannot reach its storage.'
    severity: 1
    query: 'requests | where name == "sweeper" and success == true'
    operator: 'LessThan'
    threshold: 1
    minutes: 30
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-cpo'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'cpo'
    emailReceivers: [
      {
        name: 'owner'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource queries 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: rule.name
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [
      componentId
    ]
    evaluationFrequency: 'PT${rule.minutes}M'
    windowSize: 'PT${rule.minutes}M'
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    // The table of requests comes to be with the first request: before that the query would be refused.
    skipQueryValidation: true
    autoMitigate: true
    actions: {
      actionGroups: [
        people.id
      ]
    }
  }
}]

resource undelivered 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'cpo-events-undelivered'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Grid gave up on an event: the app may not know of an uploaded file. It lies in `dead-letters`.'
    severity: 2
    enabled: true
    scopes: [
      topicId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-lettered'
          metricName: 'DeadLetteredCount'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}
