// What the app may do with AI Search, and where it finds it.
param name string
param appPrincipalId string

resource service 'Microsoft.Search/searchServices@2025-05-01' existing = {
  name: name
}

var roles = [
  // Search Service Contributor: makes the index of a campaign's documents.
  '7ca78c08-252a-4471-8644-bb5ff32d4ba0'
  // Search Index Data Contributor: fills it and asks it.
  '8ebe5a00-799e-43f5-93ac-243d3dce84a7'
]

resource grants 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in roles: {
  name: guid(service.id, appPrincipalId, role)
  scope: service
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

output endpoint string = 'https://${service.name}.search.windows.net'
