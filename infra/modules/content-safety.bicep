// Azure AI Content Safety, which screens drafts for harm.
param name string
param location string
param tags object
@description('For its private endpoint. Empty: it is reached over the internet.')
param subnetId string

resource account 'Microsoft.CognitiveServices/accounts@2025-12-01' = {
  name: name
  location: location
  tags: tags
  kind: 'ContentSafety'
  sku: {
    name: 'S0'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    // Entra takes only an account with a name of its own.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: empty(subnetId) ? 'Enabled' : 'Disabled'
  }
}

module endpoint 'private-endpoint.bicep' = if (!empty(subnetId)) {
  name: '${name}-endpoint'
  params: {
    name: 'pe-${name}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: account.id
    group: 'account'
    zones: [
      'privatelink.cognitiveservices.azure.com'
    ]
  }
}
