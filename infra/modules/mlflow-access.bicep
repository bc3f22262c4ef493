// What the app may do in the workspace, and where its MLflow server is.
param name string
param appPrincipalId string

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: name
}

// AzureML Data Scientist: logs experiments; makes and deletes no compute, and changes nothing about the workspace.
var role = 'f6c7c914-8db3-469d-8ca1-694a8f32e121'

resource grant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, appPrincipalId, role)
  scope: workspace
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

output trackingUri string = workspace.properties.mlFlowTrackingUri
