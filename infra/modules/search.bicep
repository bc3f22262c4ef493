// Azure AI Search, which finds passages. The one service here that costs money while it is idle.
param name string
param location string
param tags object
param sku string
@description('For its private endpoint. Empty: it is reached over the internet.')
param subnetId string

resource service 'Microsoft.Search/searchServices@2025-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    disableLocalAuth: true
    // Three replicas would promise that it always answers; campaigns wait and try again instead.
    replicaCount: 1
    partitionCount: 1
    publicNetworkAccess: empty(subnetId) ? 'Enabled' : 'Disabled'
    semanticSearch: 'free'
  }
}

module endpoint 'private-endpoint.bicep' = if (!empty(subnetId)) {
  name: '${name}-endpoint'
  params: {
    name: 'pe-${name}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: service.id
    group: 'searchService'
    zones: [
      'privatelink.search.windows.net'
    ]
  }
}
