// What the app may do with Content Safety, and where it finds it.
param name string
param appPrincipalId string

resource account 'Microsoft.CognitiveServices/accounts@2025-12-01' existing = {
  name: name
}

// Cognitive Services User: may call the service. It may list keys too; accounts made here take none.
var role = 'a97b65f3-24c7-4388-baec-2e87135dc908'

resource grant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, appPrincipalId, role)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

output endpoint string = account.properties.endpoint
