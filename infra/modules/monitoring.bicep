// Logs, traces and metrics.
param name string
param location string
param tags object
param appPrincipalId string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: 'log-${name}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
    workspaceCapping: {
      // Telemetry is paid for by the gigabyte: what a loop of errors may cost in a day.
      dailyQuotaGb: 5
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${name}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // The connection string names where to send, and no longer lets anybody send.
    DisableLocalAuth: true
  }
}

// Monitoring Metrics Publisher: may send telemetry, and read none.
var publisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource grant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, appPrincipalId, publisher)
  scope: component
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', publisher)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

output componentId string = component.id
output connection string = component.properties.ConnectionString
