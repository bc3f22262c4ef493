// What the app may do with Azure OpenAI, and where it finds it.
param name string
param appPrincipalId string

resource account 'Microsoft.CognitiveServices/accounts@2025-12-01' existing = {
  name: name
}

// Cognitive Services OpenAI User: may call deployed models; deploys and changes none.
var role = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

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
